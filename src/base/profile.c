/* profile.c -- where the threads of a team spend their time. */
#include "base/base.h"
#include <stdlib.h>

/* A thread's accounts. Names are found by their address; the same name may have several. */
typedef struct Account {
    _Alignas(64) PhaseTime phase[PHASES_MAX];
    int64_t n;
    const char *now; /* NULL: the thread is not in a run */
    double since;
} Account;

enum { ACCOUNTS = 64 }; /* most threads of a team */
bool profile_on;
static Account accounts[ACCOUNTS];
static _Thread_local Account *own_account;

static PhaseTime *phase_find(PhaseTime *phases, int64_t *n, const char *name) {
    for (int64_t i = 0; i < *n; i++)
        if (phases[i].name == name) return &phases[i];
    CHECK(*n < PHASES_MAX);
    phases[*n] = (PhaseTime){.name = name};
    return &phases[(*n)++];
}

const char *profile_enter(const char *name) {
    Account *a = own_account;
    if (!a) return NULL;
    const double now = os_now();
    const char *before = a->now;
    if (before) phase_find(a->phase, &a->n, before)->seconds += now - a->since;
    a->now = name, a->since = now;
    return before;
}

void profile_thread(int64_t i) {
    CHECK(i >= 0 && i < ACCOUNTS);
    own_account = &accounts[i];
    own_account->now = NULL;
}

void profile_reset(void) {
    for (int64_t i = 0; i < ACCOUNTS; i++) accounts[i].n = 0;
}

static int phases_compare(const void *a, const void *b) {
    const double x = ((const PhaseTime *)a)->seconds, y = ((const PhaseTime *)b)->seconds;
    return (x < y) - (x > y);
}

int64_t profile_read(PhaseTime out[PHASES_MAX]) {
    int64_t n = 0;
    for (int64_t i = 0; i < ACCOUNTS; i++)
        for (int64_t j = 0; j < accounts[i].n; j++) {
            const PhaseTime *p = &accounts[i].phase[j];
            int64_t k = 0;
            while (k < n && strcmp(out[k].name, p->name) != 0) k++;
            phase_find(out, &n, k < n ? out[k].name : p->name)->seconds += p->seconds;
        }
    qsort(out, (size_t)n, sizeof *out, phases_compare);
    return n;
}
