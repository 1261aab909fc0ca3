/* distill.c -- a teacher's answers as conversations to learn from, all of them or those that are
 * right.
 *
 * <folder>/distilled.part.jsonl is the journal: first what the answers depend on, then a line for
 * each prompt, in order, with what was kept of its answers. It only grows; half a line, which a
 * kill leaves, is taken off. When all prompts are there the conversations in it become
 * distilled.jsonl, at once. */
#include "train/streams.h"
#include "train/teacher.h"

#include <jansson.h>
#include <stdlib.h>

static const uint64_t DISTILL_KEY = 0x64697374696c6c; /* "distill" */
enum { AT_ONCE = 2 * ASKED_MOST, JOURNAL_BYTES = 1 << 30, PROMPTS_MOST = 1 << 24 };

/* A prompt of which answers are under way, or wait for those before it to be written. */
typedef struct Asked {
    Arena *a; /* NULL: the place is free */
    json_t *messages;
    Str conversation; /* {"messages"} */
    Problem problem;  /* of a task; with lines of JSON its answer only, where there is one */
    const Task *task;
    Answer *answer;         /* (samples) */
    int64_t begun, checked; /* of these; all before `checked` have come */
} Asked;

typedef struct Counts {
    int64_t prompts, answers, right, unfinished, kept;
} Counts;

typedef struct Distiller {
    const Recipe *recipe;
    Arena *arena;
    const char *journal, *file;
    Str settings;
    TaskStream stream[TASKS_MOST];
    int64_t n_streams; /* 0: prompts are lines */
    Str *line;         /* (n) */
    int64_t n;         /* prompts in all */
    int64_t first;     /* of those that are not in the journal */
    int64_t begun, ended;
    Asked *asked; /* (AT_ONCE) prompt i is number i % AT_ONCE */
    Counts counts;
    Teacher *teacher;
    int64_t under_way; /* answers */
} Distiller;

/* ---- prompts --------------------------------------------------------------------------------- */

/* All lines of the files that distill.prompts names. */
static bool lines_read(Distiller *d, Err *err) {
    Texts *texts = NULL;
    TextUnit unit[64];
    int64_t cap = 0, n = 0;
    bool ok = texts_open(&texts, d->arena, d->recipe->distill.prompts, "", "", err);
    while (ok && d->n < d->recipe->distill.count
           && (n = texts_next(texts, unit, COUNT(unit), 1 << 20, err)) > 0)
        for (int64_t i = 0; i < n && d->n < d->recipe->distill.count; i++) {
            if (d->n == cap) {
                Str *old = d->line;
                d->line = PUSH(d->arena, Str, cap = MAX(1024, 2 * cap));
                if (d->n) memcpy(d->line, old, (size_t)d->n * sizeof *old);
            }
            d->line[d->n++] = str_copy(d->arena, unit[i].text);
        }
    texts_close(texts);
    if (!ok || n < 0) return false;
    return d->n > 0
           || err_set(err, ERR_FORMAT, "%s: there is no prompt in it", d->recipe->distill.prompts);
}

static bool prompts_open(Distiller *d, Err *err) {
    const Recipe *r = d->recipe;
    if (!names_tasks(r->distill.prompts)) return lines_read(d, err);
    d->n = r->distill.count;
    return task_streams(d->stream, &d->n_streams, d->arena, r->distill.prompts, r->seed, false,
                        err);
}

static json_t *said(const char *role, Str text) {
    return json_pack("{s:s, s:o}", "role", role, "content",
                     json_stringn(text.p ? text.p : "", (size_t)text.n));
}

static Str string_of(const json_t *v) {
    return json_is_string(v) ? (Str){json_string_value(v), (int64_t)json_string_length(v)}
                             : (Str){0};
}

/* A prompt, or messages up to the last that is not the assistant's. */
static json_t *messages_of(const json_t *o) {
    const json_t *prompt = json_object_get(o, "prompt");
    json_t *list = json_deep_copy(json_object_get(o, "messages"));
    if (json_is_string(prompt) && !list) return json_pack("[o]", said("user", string_of(prompt)));
    for (size_t n; !prompt && (n = json_array_size(list)) > 0; json_array_remove(list, n - 1)) {
        const json_t *role = json_object_get(json_array_get(list, n - 1), "role");
        if (!str_eq(string_of(role), STR("assistant"))) return list;
    }
    json_decref(list);
    return NULL;
}

static bool line_read(Distiller *d, Asked *x, int64_t number, Err *err) {
    json_error_t e;
    const Recipe *r = d->recipe;
    json_t *o = json_loadb(d->line[number].p, (size_t)d->line[number].n,
                           JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    x->messages = messages_of(o);
    x->problem.answer = str_copy(x->a, string_of(json_object_get(o, "answer")));
    json_decref(o);
    if (!x->messages)
        return err_set(err, ERR_FORMAT,
                       "%s, prompt %lld is neither {\"prompt\": TEXT} nor {\"messages\": [...]} "
                       "with a question in it",
                       r->distill.prompts, (long long)number + 1);
    return !r->distill.right || x->problem.answer.n
           || err_set(err, ERR_USAGE,
                      "%s, prompt %lld has no \"answer\", so it is not known which answers are "
                      "right: leave distill.keep at all, or add the member",
                      r->distill.prompts, (long long)number + 1);
}

static bool prompt_start(Distiller *d, int64_t number, Err *err) {
    Asked *x = &d->asked[number % AT_ONCE];
    *x = (Asked){.a = arena_open("a prompt", ARENA_NO_LIMIT)};
    x->answer = PUSH(x->a, Answer, d->recipe->distill.samples);
    if (d->n_streams) {
        const TaskStream *s = &d->stream[number % d->n_streams];
        task_problem(&x->problem, x->a, s, number / d->n_streams);
        x->task = s->task;
        x->messages = json_pack("[o]", said("user", x->problem.prompt));
    } else if (!line_read(d, x, number, err))
        return false;
    char *z = json_dumps(x->messages, JSON_COMPACT);
    CHECK(z);
    x->conversation = str_fmt(x->a, "{\"messages\": %s}", z);
    free(z);
    return true;
}

static void prompt_end(Asked *x) {
    json_decref(x->messages);
    arena_close(x->a);
    *x = (Asked){0};
}

/* ---- answers --------------------------------------------------------------------------------- */

static bool is_right(const Asked *x, const Answer *y) {
    const Str text = buf_str(&y->text);
    if (x->task) return task_check(x->task, &x->problem, text);
    return x->problem.answer.n > 0
           && str_eq(str_trim(text, " \t\r\n"), str_trim(x->problem.answer, " \t\r\n"));
}

static bool said_before(const Asked *x, int64_t i) {
    const Answer *y = &x->answer[i];
    for (const Answer *z = x->answer; z < y; z++)
        if (z->finish == FINISH_STOP && str_eq(buf_str(&z->text), buf_str(&y->text))
            && str_eq(buf_str(&z->reasoning), buf_str(&y->reasoning)))
            return true;
    return false;
}

static json_t *conversation_of(const Asked *x, const Answer *y) {
    json_t *messages = json_copy(x->messages), *answer = said("assistant", buf_str(&y->text));
    if (y->thought)
        json_object_set_new(
            answer, "reasoning_content",
            json_stringn(y->reasoning.p ? y->reasoning.p : "", (size_t)y->reasoning.n));
    json_array_append_new(messages, answer);
    return json_pack("{s:o}", "messages", messages);
}

/* A prompt whose answers have all come, as a line of the journal: the first ones that are kept,
 * none twice, none that was cut. */
static Str line_of(Distiller *d, const Asked *x) {
    const Recipe *r = d->recipe;
    Counts c = {.prompts = 1, .answers = r->distill.samples};
    json_t *kept = json_array();
    for (int64_t i = 0; i < r->distill.samples; i++) {
        const Answer *y = &x->answer[i];
        const bool ended = y->finish == FINISH_STOP && y->text.n > 0,
                   right = ended && is_right(x, y);
        c.unfinished += !ended;
        c.right += right;
        if (!ended || (r->distill.right && !right) || c.kept == r->distill.most
            || said_before(x, i))
            continue;
        json_array_append_new(kept, conversation_of(x, y));
        c.kept++;
    }
    json_t *o =
        json_pack("{s:I, s:I, s:I, s:o}", "answers", (json_int_t)c.answers, "right",
                  (json_int_t)c.right, "unfinished", (json_int_t)c.unfinished, "kept", kept);
    char *z = json_dumps(o, JSON_COMPACT);
    CHECK(z);
    const Str line = str_fmt(x->a, "%s\n", z);
    free(z);
    json_decref(o);
    return line;
}

/* ---- the journal ----------------------------------------------------------------------------- */

/* What the answers depend on, but for the teacher itself. */
static Str settings_of(Arena *a, const Recipe *r) {
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:b}", "model", r->distill.model, "teacher",
        r->distill.teacher, "prompts", r->distill.prompts, "count", (json_int_t)r->distill.count,
        "seed", (json_int_t)r->seed, "samples", (json_int_t)r->distill.samples, "most",
        (json_int_t)r->distill.most, "max_tokens", (json_int_t)r->distill.max_tokens, "temperature",
        r->distill.temperature, "right", (int)r->distill.right);
    char *z = o ? json_dumps(o, JSON_COMPACT) : NULL;
    const Str s = str_copy(a, str_of(z ? z : ""));
    free(z);
    json_decref(o);
    return s;
}

static void line_count(Counts *c, const json_t *o) {
    c->prompts++;
    c->answers += json_integer_value(json_object_get(o, "answers"));
    c->right += json_integer_value(json_object_get(o, "right"));
    c->unfinished += json_integer_value(json_object_get(o, "unfinished"));
    c->kept += (int64_t)json_array_size(json_object_get(o, "kept"));
}

/* JSON as a line of text; what the library leaves of control characters is escaped, too. */
static void line_put(Buf *out, const json_t *o) {
    char *z = json_dumps(o, JSON_COMPACT);
    CHECK(z);
    for (const char *p = z, *del; *p; p = del) {
        del = strchr(p, 0x7f) ? strchr(p, 0x7f) : p + strlen(p);
        buf_add(out, (Str){p, del - p});
        if (*del) buf_fmt(out, "\\u007f"), del++;
    }
    free(z);
    buf_add(out, STR("\n"));
}

/* The whole lines of a journal: the first says what it is, of the others `conversations` gets what
 * was kept. */
static bool journal_walk(Distiller *d, Str journal, Buf *conversations, Str *id, Err *err) {
    d->counts = (Counts){0};
    for (int64_t number = 0; journal.n; number++) {
        const char *end = memchr(journal.p, '\n', (size_t)journal.n);
        json_t *o = json_loadb(journal.p, (size_t)(end - journal.p), JSON_ALLOW_NUL, NULL);
        const json_t *kept = json_object_get(o, "kept");
        if (number == 0) *id = str_copy(d->arena, string_of(json_object_get(o, "id")));
        if (number ? !json_is_array(kept)
                   : !str_eq(string_of(json_object_get(o, "settings")), d->settings)) {
            json_decref(o);
            return err_set(err, ERR_USAGE,
                           "%s was made with another teacher, other prompts or other keys of "
                           "distill.*: set them back, remove the file, or give checkpoint.folder "
                           "another name",
                           d->journal);
        }
        if (number) line_count(&d->counts, o);
        for (size_t i = 0; i < json_array_size(kept) && conversations; i++)
            line_put(conversations, json_array_get(kept, i));
        json_decref(o);
        journal = (Str){end + 1, journal.p + journal.n - end - 1};
    }
    return true;
}

/* What there is, without half a line at its end. *id: the teacher's, empty where it is new. */
static bool journal_read(Distiller *d, Str *whole, Str *id, Err *err) {
    *whole = *id = (Str){0};
    if (!os_exists(d->journal)) return true;
    if (!os_read(d->arena, whole, d->journal, JOURNAL_BYTES, err)) return false;
    const int64_t all = whole->n;
    while (whole->n && whole->p[whole->n - 1] != '\n') whole->n--;
    if (whole->n < all && !os_put(d->arena, d->journal, *whole, err)) return false;
    return journal_walk(d, *whole, NULL, id, err);
}

static bool journal_begin(Distiller *d, Err *err) {
    json_t *o = json_pack("{s:s, s:s}", "settings", d->settings.p, "id", teacher_id(d->teacher));
    char *z = json_dumps(o, JSON_COMPACT);
    CHECK(z);
    const bool ok = os_put(d->arena, d->journal, str_fmt(d->arena, "%s\n", z), err);
    free(z);
    json_decref(o);
    return ok;
}

/* ---- the run --------------------------------------------------------------------------------- */

/* As many answers as may be under way, of prompts that are not too far ahead of the journal. */
static bool answers_begin(Distiller *d, Err *err) {
    const Recipe *r = d->recipe;
    for (int64_t i = d->ended; d->under_way < ASKED_MOST && i < MIN(d->n, d->ended + AT_ONCE);
         i++) {
        Asked *x = &d->asked[i % AT_ONCE];
        if (i == d->begun && (d->begun++, !prompt_start(d, i, err))) return false;
        while (x->begun < r->distill.samples && d->under_way < ASKED_MOST) {
            const uint64_t number = (uint64_t)(i * r->distill.samples + x->begun);
            const Philox w = philox(r->seed ^ DISTILL_KEY, number, 0);
            if (!teacher_ask(d->teacher, &x->answer[x->begun], x->a, x->conversation,
                             (uint64_t)w.w[0] << 32 | w.w[1], err))
                return false;
            x->begun++, d->under_way++;
        }
    }
    return true;
}

static bool answers_end(Distiller *d, Err *err) {
    for (int64_t i = d->ended; i < d->begun; i++) {
        Asked *x = &d->asked[i % AT_ONCE];
        while (x->checked < x->begun && x->answer[x->checked].finish != FINISH_NONE) {
            if (x->answer[x->checked++].finish == FINISH_ERROR)
                return err_set(err, ERR_FORMAT,
                               "%s computed a value that is not a number: its file may be damaged",
                               d->recipe->distill.teacher);
            d->under_way--;
        }
        if (i != d->ended || x->checked < d->recipe->distill.samples) continue;
        const Str line = line_of(d, x);
        if (!os_append(d->journal, line, err)) return false;
        json_t *o = json_loadb(line.p, (size_t)line.n, JSON_ALLOW_NUL, NULL);
        line_count(&d->counts, o);
        json_decref(o);
        prompt_end(x);
        d->ended++;
    }
    return true;
}

static bool answers_make(Distiller *d, Err *err) {
    Progress bar;
    bool ok = true;
    progress_start(&bar, "asking the teacher", "prompt", d->n);
    bar.first = d->ended;
    while (ok && d->ended < d->n) {
        ok = answers_begin(d, err);
        ok = ok && teacher_step(d->teacher, err);
        ok = ok && answers_end(d, err);
        progress_at(&bar, d->ended, NULL);
        if (ok && os_interrupted())
            ok = err_set(err, ERR_INTERRUPTED,
                         "interrupted after %lld of %lld prompts. The same command goes on from "
                         "there",
                         (long long)d->ended, (long long)d->n);
    }
    progress_end(&bar);
    for (int64_t i = 0; i < AT_ONCE; i++)
        if (d->asked[i].a) prompt_end(&d->asked[i]);
    return ok;
}

static bool teacher_same(const Distiller *d, Str id, Err *err) {
    return str_eq(id, str_of(teacher_id(d->teacher)))
           || err_set(err, ERR_USAGE,
                      "%s was begun with another teacher than %s is now: remove the file, or give "
                      "checkpoint.folder another name",
                      d->journal, d->recipe->distill.teacher);
}

static bool rest_make(Distiller *d, Str id, int64_t threads, Err *err) {
    d->asked = PUSH(d->arena, Asked, AT_ONCE);
    const bool ok = teacher_open(&d->teacher, d->recipe, threads, err)
                    && (id.n ? teacher_same(d, id, err) : journal_begin(d, err))
                    && answers_make(d, err);
    teacher_close(d->teacher);
    return ok;
}

/* distilled.jsonl, from a journal that is complete. */
static bool file_write(Distiller *d, Err *err) {
    Str whole, id;
    Buf conversations = {.a = d->arena};
    if (!os_read(d->arena, &whole, d->journal, JOURNAL_BYTES, err)
        || !journal_walk(d, whole, &conversations, &id, err))
        return false;
    const Counts c = d->counts;
    const char *right = d->n_streams || d->recipe->distill.right
                            ? str_fmt(d->arena, "%lld right, ", (long long)c.right).p
                            : "";
    log_at(LOG_INFO,
           "%s gave %lld answers to %lld prompts: %s%lld cut or empty; %lld are kept, in %s",
           d->recipe->distill.teacher, (long long)c.answers, (long long)c.prompts, right,
           (long long)c.unfinished, (long long)c.kept, d->file);
    return c.kept ? os_put(d->arena, d->file, buf_str(&conversations), err)
                  : err_set(err, ERR_USAGE,
                            "of %lld answers of %s none is kept: %lld were cut or empty, %lld "
                            "right. Raise distill.max_tokens or distill.samples, or ask something "
                            "easier",
                            (long long)c.answers, d->recipe->distill.teacher,
                            (long long)c.unfinished, (long long)c.right);
}

static bool make(Distiller *d, int64_t threads, Err *err) {
    Str whole, id;
    if (!prompts_open(d, err) || !journal_read(d, &whole, &id, err)) return false;
    d->ended = d->begun = d->counts.prompts;
    if (d->ended < d->n && !rest_make(d, id, threads, err)) return false;
    return os_exists(d->file) || file_write(d, err);
}

bool distill_make(const Recipe *r, int64_t threads, Err *err) {
    Arena *a = arena_open("distillation", ARENA_NO_LIMIT);
    const char *folder = r->checkpoint.folder;
    Distiller d = {.recipe = r,
                   .arena = a,
                   .journal = str_fmt(a, "%s/distilled.part.jsonl", folder).p,
                   .file = str_fmt(a, "%s/distilled.jsonl", folder).p,
                   .settings = settings_of(a, r)};
    bool ok = os_mkdir(folder, err);
    const int lock = ok ? os_lock(folder, err) : -1;
    ok = lock >= 0 && make(&d, threads, err);
    if (lock >= 0) os_unlock(lock);
    arena_close(a);
    return ok;
}
