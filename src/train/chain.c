/* chain.c -- the file of a chain: a common recipe and what each stage has of its own, through the
 * schema of a recipe's file. */
#include "train/yaml.h"

#include <stdio.h>

enum { CHAIN_BYTES = 1 << 20, NAME_MOST = 40 };

/* ---- what the library fills ------------------------------------------------------------------ */

typedef struct StageIn {
    Loaded in;
    char *name;
} StageIn;
typedef struct ChainIn {
    Loaded all;
    char *folder, *export_type;
    struct {
        char **text;
        uint32_t text_count;
        char *vocab, *digits, *turns, *documents;
    } tokenizer;
    StageIn *stage;
    uint32_t stage_count;
    struct {
        char **task;
        uint32_t task_count;
        char *problems, *samples, *max_tokens, *seed, *budgets;
    } evaluate;
} ChainIn;

static const cyaml_schema_value_t string_entry = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

#define TEXT(word, at)                                                                             \
    {                                                                                              \
        .key = word, .data_offset = offsetof(ChainIn, at), .value = {                              \
            .type = CYAML_STRING,                                                                  \
            .flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,                                     \
            .data_size = sizeof(char),                                                             \
            .string = {.min = 0, .max = UINT32_MAX}                                                \
        }                                                                                          \
    }
#define LIST(word, at)                                                                             \
    {                                                                                              \
        .key = word, .data_offset = offsetof(ChainIn, at),                                         \
        .count_offset = offsetof(ChainIn, at##_count), .count_size = sizeof(uint32_t), .value = {  \
            .type = CYAML_SEQUENCE,                                                                \
            .flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,                                     \
            .data_size = sizeof(char *),                                                           \
            .sequence = {.entry = &string_entry, .min = 0, .max = CHAIN_LIST}                      \
        }                                                                                          \
    }
/* A section whose members lie in ChainIn itself. */
#define SECTION(word, list)                                                                        \
    {                                                                                              \
        .key = word, .data_offset = 0, .value = {                                                  \
            .type = CYAML_MAPPING,                                                                 \
            .flags = CYAML_FLAG_OPTIONAL,                                                          \
            .data_size = sizeof(ChainIn),                                                          \
            .mapping = {.fields = list}                                                            \
        }                                                                                          \
    }

static const cyaml_schema_field_t tokenizer_fields[] = {
    LIST("texts", tokenizer.text),          TEXT("vocab", tokenizer.vocab),
    TEXT("digits", tokenizer.digits),       TEXT("turns", tokenizer.turns),
    TEXT("documents", tokenizer.documents), CYAML_FIELD_END};
static const cyaml_schema_field_t evaluate_fields[] = {LIST("tasks", evaluate.task),
                                                       TEXT("problems", evaluate.problems),
                                                       TEXT("samples", evaluate.samples),
                                                       TEXT("max_tokens", evaluate.max_tokens),
                                                       TEXT("seed", evaluate.seed),
                                                       TEXT("budgets", evaluate.budgets),
                                                       CYAML_FIELD_END};

/* The recipe's schema stands in it twice: under "all", and with a name in front for each stage. */
typedef struct ChainSchema {
    Schema recipe;
    cyaml_schema_field_t stage[KEYS_MAX], top[8];
    cyaml_schema_value_t stage_value, root;
} ChainSchema;

static void schema_chain(Arena *a, ChainSchema *s) {
    int64_t n = 0;
    schema_make(a, &s->recipe, false);
    s->stage[n++] = (cyaml_schema_field_t)TEXT("name", folder);
    s->stage[0].data_offset = offsetof(StageIn, name);
    for (const cyaml_schema_field_t *f = s->recipe.top; f->key; f++) s->stage[n++] = *f;
    s->stage_value = (cyaml_schema_value_t){
        .type = CYAML_MAPPING, .data_size = sizeof(StageIn), .mapping = {.fields = s->stage}};
    const cyaml_schema_field_t top[] = {
        TEXT("folder", folder),
        TEXT("export", export_type),
        SECTION("tokenizer", tokenizer_fields),
        SECTION("evaluate", evaluate_fields),
        SECTION("all", s->recipe.top),
        {.key = "stages",
         .data_offset = offsetof(ChainIn, stage),
         .count_offset = offsetof(ChainIn, stage_count),
         .count_size = sizeof(uint32_t),
         .value = {.type = CYAML_SEQUENCE,
                   .flags = CYAML_FLAG_POINTER,
                   .data_size = sizeof(StageIn),
                   .sequence = {.entry = &s->stage_value, .min = 1, .max = STAGES_MOST}}},
        CYAML_FIELD_END};
    memcpy(s->top, top, sizeof top);
    s->top[4].value.data_size = sizeof(Loaded);
    s->root = (cyaml_schema_value_t){.type = CYAML_MAPPING,
                                     .flags = CYAML_FLAG_POINTER,
                                     .data_size = sizeof(ChainIn),
                                     .mapping = {.fields = s->top}};
}

/* ---- what it becomes ------------------------------------------------------------------------- */

static const char *text_of(Arena *a, const char *z, const char *otherwise) {
    return str_copy(a, str_of(z ? z : otherwise)).p;
}

static bool count_of(int64_t *out, const Chain *c, const char *key, const char *z,
                     int64_t otherwise, int64_t lo, int64_t hi, Err *err) {
    *out = otherwise;
    return !z || (str_i64(str_of(z), out) && *out >= lo && *out <= hi)
           || err_set(err, ERR_USAGE, "%s: %s is \"%s\", expected a whole number from %lld to %lld",
                      c->path, key, z, (long long)lo, (long long)hi);
}

static bool members_read(Chain *c, Arena *a, const ChainIn *in, Err *err) {
    c->folder = text_of(a, in->folder, "");
    c->export_type = text_of(a, in->export_type, "");
    c->evaluate.budgets = text_of(a, in->evaluate.budgets, "");
    for (uint32_t i = 0; i < in->tokenizer.text_count; i++)
        c->tokenizer.text[c->tokenizer.n_texts++] = text_of(a, in->tokenizer.text[i], "");
    for (uint32_t i = 0; i < in->evaluate.task_count; i++)
        c->evaluate.task[c->evaluate.n_tasks++] = text_of(a, in->evaluate.task[i], "");
    return count_of(&c->tokenizer.vocab, c, "tokenizer.vocab", in->tokenizer.vocab, 1024, 260,
                    1 << 20, err)
           && count_of(&c->tokenizer.digits, c, "tokenizer.digits", in->tokenizer.digits, 1, 1, 3,
                       err)
           && count_of(&c->tokenizer.turns, c, "tokenizer.turns", in->tokenizer.turns, 0, 0, 1, err)
           && count_of(&c->tokenizer.documents, c, "tokenizer.documents", in->tokenizer.documents,
                       20000, 1, 1 << 28, err)
           && count_of(&c->evaluate.problems, c, "evaluate.problems", in->evaluate.problems, 500, 1,
                       1000000, err)
           && count_of(&c->evaluate.samples, c, "evaluate.samples", in->evaluate.samples, 1, 1,
                       1024, err)
           && count_of(&c->evaluate.max_tokens, c, "evaluate.max_tokens", in->evaluate.max_tokens,
                       256, 1, 1 << 20, err)
           && count_of(&c->evaluate.seed, c, "evaluate.seed", in->evaluate.seed, 1, 0, INT64_MAX,
                       err);
}

static bool name_is_sound(const char *name) {
    for (const char *p = name; *p; p++)
        if (!(*p >= 'a' && *p <= 'z') && !(*p >= '0' && *p <= '9') && *p != '-' && *p != '_')
            return false;
    return *name && strlen(name) <= NAME_MOST;
}

/* What stands under "all", then what the stage has, then the command line's settings for either;
 * `own` gets what is the stage's alone. */
static bool stage_values(Str *value, Str *own, Arena *a, const ChainIn *in, int64_t i,
                         const char *const *set, int64_t n_set, Schema *schema, Err *err) {
    const StageIn *s = &in->stage[i];
    for (int64_t k = 0; k < recipe_n_keys; k++) {
        own[k] = str_copy(a, slot_text(a, &s->in, k));
        value[k] = own[k].n ? own[k] : str_copy(a, slot_text(a, &in->all, k));
    }
    for (int64_t k = 0; k < n_set; k++) {
        const char *dot = strchr(set[k], '.');
        const Str to = {set[k], dot ? dot - set[k] : 0};
        const bool one = str_eq(to, str_of(s->name));
        if ((one || str_eq(to, STR("all"))) && !override(value, schema, dot + 1, err)) return false;
        if (one && !override(own, schema, dot + 1, err)) return false;
    }
    return true;
}

static void value_put(Str *value, const char *key, Str text) {
    for (int64_t k = 0; k < recipe_n_keys; k++)
        if (!strcmp(recipe_keys[k].name, key)) value[k] = text;
}

static Str value_at(const Str *value, const char *key) {
    for (int64_t k = 0; k < recipe_n_keys; k++)
        if (!strcmp(recipe_keys[k].name, key)) return value[k];
    return (Str){0};
}

static bool is_shape(int64_t key) {
    return str_starts(str_of(recipe_keys[key].name), STR("model."));
}

static bool has_shape(const Str *value) {
    for (int64_t k = 0; k < recipe_n_keys; k++)
        if (is_shape(k) && value[k].n) return true;
    return false;
}

/* The name of an earlier stage in the place of a model is that stage's folder. */
static void stage_named(Str *value, const char *key, const Chain *c, int64_t i) {
    for (int64_t k = 0; k < i; k++)
        if (str_eq(value_at(value, key), str_of(c->stage[k].name)))
            value_put(value, key, str_of(c->stage[k].recipe.checkpoint.folder));
}

static const Stage *stage_in(const Chain *c, int64_t i, const char *folder) {
    for (int64_t k = 0; k < i; k++)
        if (!strcmp(c->stage[k].recipe.checkpoint.folder, folder)) return &c->stage[k];
    return NULL;
}

/* A stage goes on from the one before it, whose shape is its own then, but where it has a model or
 * an init_from of its own, and learns from its answers where it distils. */
static void stage_links(Str *value, const Str *own, Arena *a, const Chain *c, int64_t i) {
    const Stage *s = &c->stage[i];
    value_put(value, "checkpoint.folder",
              str_fmt(a, "%s/%lld-%s", c->folder, (long long)i + 1, s->name));
    if (c->tokenizer.n_texts) value_put(value, "tokenizer", str_fmt(a, "%s/tokenizer", c->folder));
    if (i && value_at(own, "init_from").n == 0)
        value_put(value, "init_from", str_of(has_shape(own) ? "" : s[-1].recipe.checkpoint.folder));
    if (i && value_at(value, "distill.teacher").n == 0)
        value_put(value, "distill.teacher", str_of(s[-1].recipe.checkpoint.folder));
    stage_named(value, "init_from", c, i);
    stage_named(value, "distill.teacher", c, i);
    if (value_at(value, "init_from").n == 0) return;
    for (int64_t k = 0; k < recipe_n_keys; k++)
        if (is_shape(k)) value[k] = own[k];
}

static bool stage_read(Chain *c, Arena *a, const ChainIn *in, int64_t i, const char *const *set,
                       int64_t n_set, Schema *schema, Err *err) {
    Stage *s = &c->stage[i];
    Str *value = PUSH(a, Str, recipe_n_keys), *own = PUSH(a, Str, recipe_n_keys);
    s->name = text_of(a, in->stage[i].name, "");
    if (!name_is_sound(s->name) || !strcmp(s->name, "all"))
        return err_set(
            err, ERR_USAGE,
            "%s: stage %lld is named \"%s\", expected a name of small letters, digits, - "
            "and _, other than all",
            c->path, (long long)i + 1, s->name);
    for (int64_t k = 0; k < i; k++)
        if (!strcmp(c->stage[k].name, s->name))
            return err_set(err, ERR_USAGE, "%s: two stages are named \"%s\"", c->path, s->name);
    if (!stage_values(value, own, a, in, i, set, n_set, schema, err)) return false;
    if (value_at(value, "checkpoint.folder").n)
        return err_set(err, ERR_USAGE,
                       "%s, stage %s: checkpoint.folder is given, %s/%lld-%s: leave it out, or "
                       "set folder",
                       c->path, s->name, c->folder, (long long)i + 1, s->name);
    stage_links(value, own, a, c, i);
    const char *what = str_fmt(a, "%s, stage %s", c->path, s->name).p;
    if (!recipe_make(&s->recipe, a, what, value, err)) return false;
    s->from = stage_in(c, i, s->recipe.init_from);
    return true;
}

/* "folder=...", and a name in front of every other key. */
static bool set_check(Chain *c, const char *set, Err *err) {
    const Str folder = STR("folder=");
    if (str_starts(str_of(set), folder)) return c->folder = set + folder.n, true;
    for (int64_t i = 0; i < c->n_stages; i++)
        if (str_starts(str_of(set), str_of(c->stage[i].name))
            && set[strlen(c->stage[i].name)] == '.')
            return true;
    return str_starts(str_of(set), STR("all."))
           || err_set(
               err, ERR_USAGE,
               "--set %s: expected folder=..., or the name of a stage or \"all\" in front of a "
               "recipe's key, like %s.optim.steps=100",
               set, c->n_stages ? c->stage[0].name : "all");
}

static bool chain_make(Chain *c, Arena *a, const ChainIn *in, const char *const *set, int64_t n_set,
                       Schema *schema, Err *err) {
    if (!members_read(c, a, in, err)) return false;
    c->n_stages = in->stage_count;
    for (int64_t i = 0; i < c->n_stages; i++) c->stage[i].name = text_of(a, in->stage[i].name, "");
    for (int64_t i = 0; i < n_set; i++)
        if (!set_check(c, set[i], err)) return false;
    if (!c->folder[0])
        return err_set(err, ERR_USAGE, "%s: the key folder is missing (or give it by --set)",
                       c->path);
    for (int64_t i = 0; i < c->n_stages; i++)
        if (!stage_read(c, a, in, i, set, n_set, schema, err)) return false;
    return true;
}

bool chain_read(Chain *c, Arena *a, const char *path, const char *const *set, int64_t n_set,
                Err *err) {
    Str bytes;
    Buf log = {.a = a};
    const cyaml_config_t config = config_of(&log, 0);
    ChainSchema *schema = PUSH(a, ChainSchema, 1);
    ChainIn *in = NULL;
    *c = (Chain){.path = str_copy(a, str_of(path)).p};
    schema_chain(a, schema);
    if (!os_read(a, &bytes, path, CHAIN_BYTES, err)) return false;
    const cyaml_err_t code = cyaml_load_data((const uint8_t *)bytes.p, (size_t)bytes.n, &config,
                                             &schema->root, (cyaml_data_t **)&in, NULL);
    if (code != CYAML_OK) return yaml_failed(&schema->recipe, path, code, &log, err);
    const bool ok = chain_make(c, a, in, set, n_set, &schema->recipe, err);
    cyaml_free(&config, &schema->root, in, 0);
    return ok;
}
