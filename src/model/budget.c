/* budget.c -- see budget.h.
 *
 * Three sums are kept: `taken`, bytes since the last item was named; `pushed`, all that will stand
 * in one arena, which must be reserved in one piece; `bytes`, all items, which is compared with the
 * memory that is free. Pieces are rounded up to 64 bytes as the arena rounds them. */
#include "model/budget.h"
#include <stdio.h>

/* Measured: resident memory of the program before a model is opened. */
enum { PROGRAM_BYTES = 6 << 20 };

void *budget_take(Budget *r, int64_t bytes) {
    r->taken += round_up(bytes, 64);
    r->pushed += round_up(bytes, 64);
    return r->big ? arena_push(r->big, bytes) : NULL;
}

/* Zeroed, so that every page is there from the start: a step then never meets a page fault, and the
 * memory measured is the memory planned. For the same reason its pages may be large. */
void *budget_touched(Budget *r, int64_t bytes) {
    const Mark mark = r->big ? arena_mark(r->big) : (Mark){0};
    void *p = budget_take(r, bytes);
    if (p) {
        arena_large_pages(r->big, mark);
        memset(p, 0, (size_t)bytes);
    }
    return p;
}

void budget_put(Budget *r, const char *what, int64_t bytes) {
    CHECK(r->n_items < BUDGET_ITEMS);
    if (bytes == 0) return;
    r->item[r->n_items++] = (BudgetItem){what, bytes};
    r->bytes += bytes;
}

/* Memory that somebody else takes later, from the same arena. */
void budget_later(Budget *r, const char *what, int64_t bytes) {
    r->pushed += round_up(bytes, 64);
    budget_put(r, what, bytes);
}

void budget_item(Budget *r, const char *what) {
    budget_put(r, what, r->taken);
    r->taken = 0;
}

/* Of a model that is or was trained; they stand in its arena, or will. */
static int64_t masters_bytes(const Model *m) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        bytes += m->shape || m->param[i].master ? m->param[i].count * 4 : 0;
    return bytes;
}

void budget_model(Budget *r, const Model *m) {
    int64_t masters = masters_bytes(m), model = arena_used(m->arena) + (m->shape ? masters : 0);
    r->whole = true;
    budget_put(r, "program", PROGRAM_BYTES);
    budget_put(r, "masters", MIN(masters, model));
    budget_put(r, "names and vectors of the model", model - MIN(masters, model));
}

Largest budget_largest(const BudgetItem *item, int64_t n) {
    Largest l = {0};
    const BudgetItem *last = NULL;
    for (int k = 0; k < 3 && k < n; k++) {
        const BudgetItem *best = NULL;
        for (const BudgetItem *i = item; i < item + n; i++) {
            const bool behind =
                !last || i->bytes < last->bytes || (i->bytes == last->bytes && i > last);
            if (behind && (!best || i->bytes > best->bytes)) best = i;
        }
        const size_t at = strlen(l.list);
        snprintf(l.list + at, sizeof l.list - at, "%s%s %.1f MB", k ? ", " : "", best->what,
                 (double)best->bytes / 1e6);
        last = best;
    }
    return l;
}

/* limit 0: what is free now, and beside it what this process holds already, since the budget of a
 * whole run counts that too. */
bool budget_check(const Budget *r, int64_t limit, Err *err) {
    if (limit == 0) limit = os_memory_free() + (r->whole ? os_memory_now() : 0);
    if (r->bytes <= limit) return true;
    return err_set(
        err, ERR_LIMIT,
        "this run needs %.1f MB and %.1f MB are free; the largest parts: %s. Ask for fewer rows "
        "or positions, or take a smaller model",
        (double)r->bytes / 1e6, (double)limit / 1e6, budget_largest(r->item, r->n_items).list);
}

/* An address space may be limited more narrowly than memory, and be in pieces. */
bool budget_reserve(const Budget *r, Arena *a, Err *err) {
    if (arena_reserve(a, r->pushed)) return true;
    return err_set(err, ERR_LIMIT,
                   "this run needs %.1f MB, of which the system does not give %.1f MB in one "
                   "piece: look at ulimit -v and vm.overcommit_memory, ask for fewer rows or "
                   "positions, or take a smaller model",
                   (double)r->bytes / 1e6, (double)r->pushed / 1e6);
}
