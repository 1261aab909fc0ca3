/* session.c -- from a name on the command line to a model ready to run. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>

/* The kernel level asked for, or the best; threads likewise. */
static bool machine_open(Session *s, const ModelOpts *o, Err *err) {
    Level level = LEVEL_N;
    if (o->cpu) CHECK(level_of_name(o->cpu, &level));
    if (!kern_init(level, err)) return false;
    s->team = team_open(o->threads ? o->threads : MIN(os_cpus(), 64));
    return true;
}

static bool quantised(DType t) { return dtype_block(t) > 1; }

static bool formats_set(PlanSpec *p, const Model *m, const ModelOpts *o, const char *path,
                        Err *err) {
    *p = plan_defaults(m);
    if (o->act) {
        p->act = !strcmp(o->act, "f32") ? ACT_F32 : !strcmp(o->act, "a16") ? ACT_A16 : ACT_A8;
        p->kv = p->act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16;
    }
    if (p->act == ACT_A8 && !quantised(m->file_type))
        return err_set(
            err, ERR_USAGE,
            "--act a8 needs a quantised file, and the matrices of %s are %s: use --act a16 or f32",
            path, dtype_name(m->file_type));
    if (o->mla) p->mla = !strcmp(o->mla, "expanded") ? MLA_EXPANDED : MLA_ABSORBED;
    if (o->kv) p->kv = !strcmp(o->kv, "f32") ? DTYPE_F32 : DTYPE_BF16;
    return true;
}

/* One layer that predicts further tokens is opened where it can be of use. */
static bool model_load(Bundle *b, unsigned parts, const ModelOpts *o, Err *err) {
    Config c;
    if (o->drafts && !o->no_mtp) {
        if (!config_read(&c, b->store, err)) return false;
        b->mtp = MIN(model_mtp_held(b->store, &c), 1);
    }
    return bundle_load(b, parts, err);
}

bool session_open(Session *s, const char *name, unsigned parts, const ModelOpts *o, PlanSpec *spec,
                  Err *err) {
    s->arena = arena_open("session", ARENA_NO_LIMIT);
    return model_pulled(&name, s->arena, name, err)
           && bundle_open(&s->bundle, s->arena, name, 0, err)
           && model_load(&s->bundle, parts, o, err) && (s->team || machine_open(s, o, err))
           && formats_set(spec, s->bundle.model, o, s->bundle.path, err);
}

void session_drafts(const Session *s, EngineSpec *e) {
    if (!s->bundle.mtp) return;
    e->mtp = MTP_DRAFTS;
    e->drafts = MAX(e->drafts, e->seqs * MTP_DRAFTS);
}

bool session_plan(Session *s, const PlanSpec *spec, Err *err) {
    return plan_new(&s->plan, s->arena, s->bundle.model, spec, 0, s->team, err);
}

int64_t context_bounded(const Session *s, int64_t wanted) {
    const int64_t most = s->bundle.model->cfg.max_positions;
    if (wanted > most && wanted != RUN_CONTEXT)
        log_at(LOG_WARN, "--context %lld: the model's context is %lld", (long long)wanted,
               (long long)most);
    return MIN(wanted, most);
}

void session_close(Session *s) {
    bundle_close(&s->bundle);
    if (s->team) team_close(s->team);
    if (s->arena) arena_close(s->arena);
    *s = (Session){0};
}

bool ids_parse(Arena *a, int32_t **ids, int64_t *n, Str text, int64_t V, const char *what,
               Err *err) {
    if (text.n && memchr(text.p, 0, (size_t)text.n))
        return err_set(err, ERR_USAGE, "reading token ids from %s: there is a byte 0 in it", what);
    Str array = str_trim(text, " \t\r\n");
    if (array.n == 0 || array.p[0] != '[') array = str_fmt(a, "[%.*s]", STRF(text));
    json_error_t at;
    json_t *json = json_loadb(array.p, (size_t)array.n, 0, &at);
    if (!json)
        return err_set(err, ERR_USAGE,
                       "reading token ids from %s: expected numbers like 1,2,3, found '%.*s'", what,
                       (int)MIN(text.n, 40), text.p);
    *n = (int64_t)json_array_size(json);
    *ids = PUSH(a, int32_t, MAX(*n, 1));
    bool ok = json_is_array(json) && *n > 0;
    if (!ok)
        err_set(err, ERR_USAGE,
                "reading token ids from %s: expected numbers like 1,2,3 and found none", what);
    for (int64_t i = 0; ok && i < *n; i++) {
        const json_t *v = json_array_get(json, (size_t)i);
        json_int_t id = json_integer_value(v);
        ok = json_is_integer(v) && id >= 0 && id < V;
        if (!ok)
            err_set(err, ERR_USAGE,
                    "reading token ids from %s: number %lld of the list is not an id below %lld, "
                    "the size of "
                    "the vocabulary",
                    what, (long long)i + 1, (long long)V);
        (*ids)[i] = (int32_t)id;
    }
    json_decref(json);
    return ok;
}

static const char *shown(Arena *a, const char *text, const char *kept) {
    Str rest = str_of(text);
    char *out = PUSH(a, char, rest.n + 1), *at = out;
    while (rest.n) {
        const int n = MAX(utf8_length(rest), 1);
        if (utf8_length(rest) && (!utf8_control(rest) || char_in(*rest.p, kept)))
            memcpy(at, rest.p, (size_t)n), at += n;
        else
            *at++ = '?';
        rest.p += n, rest.n -= n;
    }
    return out;
}

const char *path_shown(Arena *a, const char *path) { return shown(a, path, ""); }
const char *text_shown(Arena *a, const char *text) { return shown(a, text, "\n\t"); }

void json_show(json_t *j) {
    json_dumpf(j, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(j);
}

bool output_failed(Err *err) {
    return err_set(err, ERR_IO,
                   "writing to standard output failed: it does not have all of the result");
}
