/* cmd_info.c -- `lisao info`: this machine, its kernels, and how a model would run here, and
 * why. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>

static const char *act_why(const Model *m) {
    if (dtype_block(m->file_type) > 1) return "the file is quantised";
    switch (m->file_type) {
    case DTYPE_F32: return "the file is f32";
    case DTYPE_F64: return "the file is f64";
    case DTYPE_F8_E4M3:
    case DTYPE_F8_E5M2: return "the file has 8-bit floats";
    default: return "the file has 16-bit weights";
    }
}

static const char *mla_why(const Model *m) {
    return m->cfg.recorded_mla ? "recorded in the checkpoint"
                               : "the default where no checkpoint records one";
}

static const char *mla_name(const Model *m, const PlanSpec *p) {
    return !m->cfg.mla ? "none" : p->mla == MLA_EXPANDED ? "expanded" : "absorbed";
}

static json_t *model_json(const Session *s, const PlanSpec *p) {
    const Config *c = &s->bundle.model->cfg;
    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:I, s:s*}",
                     "path", path_shown(s->arena, s->bundle.path), "family", family_name(c->family),
                     "parameters", (json_int_t)model_count(s->bundle.model), "file_type",
                     dtype_name(s->bundle.model->file_type), "layers", (json_int_t)c->L, "width",
                     (json_int_t)c->C, "heads", (json_int_t)c->H, "experts", (json_int_t)c->E,
                     "vocabulary", (json_int_t)c->V, "context", (json_int_t)c->max_positions, "act",
                     act_name(p->act), "kv", dtype_name(p->kv), "mla", mla_name(s->bundle.model, p),
                     "memory", (json_int_t)s->plan->bytes, "fingerprint",
                     *s->plan->fingerprint ? s->plan->fingerprint : NULL);
}

static void model_text(const Session *s, const PlanSpec *p) {
    const Model *m = s->bundle.model;
    const Config *c = &m->cfg;
    printf("\nmodel        %s\n", path_shown(s->arena, s->bundle.path));
    printf("family       %s, %.1f M parameters, %s\n", family_name(c->family),
           (double)model_count(m) / 1e6, dtype_name(m->file_type));
    printf("shape        %lld layers, width %lld, %lld heads, vocabulary %lld, context %lld\n",
           (long long)c->L, (long long)c->C, (long long)c->H, (long long)c->V,
           (long long)c->max_positions);
    if (c->E)
        printf("experts      %lld routed, %lld a token, %lld shared\n", (long long)c->E,
               (long long)c->K, (long long)c->shared);
    printf("activations  %s (%s)\n", act_name(p->act), act_why(m));
    printf("KV cache     %s (%s), %lld tokens\n", dtype_name(p->kv),
           p->act == ACT_F32 ? "as under f32 activations" : "the default",
           (long long)(p->pages * PAGE));
    if (c->mla) printf("attention    %s (%s)\n", mla_name(m, p), mla_why(m));
    if (*s->plan->fingerprint) printf("fingerprint  %s\n", s->plan->fingerprint);
    Buf plan = {.a = s->arena};
    plan_print(s->plan, &plan);
    printf("\n%.*s", STRF(buf_str(&plan)));
    if (!*s->plan->fingerprint && s->plan->bytes > os_memory_now() + os_memory_free())
        printf("%10.1f MB  are free: it does not fit\n",
               (double)(os_memory_now() + os_memory_free()) / 1e6);
}

/* The budget of one sequence of the model's context (at most 4,096), which is what `run` needs. The
 * weights are read for the fingerprint only. */
static bool plan_one(Session *s, PlanSpec *p, bool fingerprint, Err *err) {
    EngineSpec e = {.seqs = 1, .queue = 1, .rows = RUN_ROWS};
    engine_plan(p, s->bundle.model, &e, MIN(s->bundle.model->cfg.max_positions, RUN_CONTEXT),
                s->team);
    if (fingerprint) return session_plan(s, p, err);
    return plan_count(&s->plan, s->arena, s->bundle.model, p, team_threads(s->team), err);
}

static bool info(const char *model, const ModelOpts *o, bool json, bool fingerprint, Err *err) {
    Session s = {0};
    PlanSpec p = {0};
    Level level = LEVEL_N;
    if (o->cpu) CHECK(level_of_name(o->cpu, &level));
    bool ok = model ? session_open(&s, model, BUNDLE_MODEL, o, &p, err)
                          && plan_one(&s, &p, fingerprint, err)
                    : kern_init(level, err);
    Arena *a = arena_open("info", 1 << 24);
    if (ok && json) {
        json_t *j = json_pack("{s:s, s:I, s:I}", "level", level_name(kern_level()), "cpus",
                              (json_int_t)os_cpus(), "memory_free", (json_int_t)os_memory_free());
        if (model) json_object_set_new(j, "model", model_json(&s, &p));
        json_show(j);
    } else if (ok) {
        Buf b = {.a = a};
        kern_print(&b);
        printf("%.*s", STRF(buf_str(&b)));
        printf("machine      %lld CPUs, %.1f GB of memory free\n", (long long)os_cpus(),
               (double)os_memory_free() / 1e9);
        if (model) model_text(&s, &p);
    }
    arena_close(a);
    session_close(&s);
    return ok;
}

int cmd_info(int argc, char **argv) {
    ModelOpts model = {0};
    bool json = false;
    bool fingerprint = false;
    const Opt opts[] = {
        FLAG_OPT("json", &json, "Print one JSON object."),
        FLAG_OPT("fingerprint", &fingerprint,
                 "Print a SHA-256 of everything that the results depend on; reads every "
                 "weight."),
        MODEL_OPTS(model)};
    const Command c = {"info",
                       "[MODEL]",
                       "show this machine, and how a model would run on it",
                       "Without MODEL: the CPU, its instruction sets, and which of them each "
                       "operation uses. With MODEL: its architecture, the number formats it would "
                       "run in and why, and the memory that this needs.",
                       "lisao info\nlisao info model.gguf\n",
                       opts,
                       COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    if (argc == 1 && fingerprint)
        err_set(&err, ERR_USAGE, "--fingerprint needs a MODEL");
    else if (argc <= 2 && info(argc == 2 ? argv[1] : NULL, &model, json, fingerprint, &err))
        return 0;
    if (argc > 2)
        err_set(&err, ERR_USAGE, "expected at most one MODEL, found %d arguments", argc - 1);
    return command_failed(&c, &err);
}
