/* yaml.c -- a recipe's file through libcyaml, with the schema made from the table of keys.
 *
 * The library is used for the structure only: sections, keys, duplicates, aliases (refused). Every
 * scalar is loaded as the string that it is and read by keys.c, because the library's own numbers
 * are lax (1.5 loads as the integer 1). What the library reports about an error goes to its log;
 * the first line and the place are taken from there. */
#include "train/yaml.h"

#include <stdio.h>

enum { RECIPE_BYTES = 1 << 20, SLOT = sizeof(char *) };

static const cyaml_schema_value_t text_value = {.type = CYAML_STRING,
                                                .flags = CYAML_FLAG_POINTER,
                                                .data_size = sizeof(char),
                                                .string = {.min = 0, .max = UINT32_MAX}};

static cyaml_schema_value_t value_of(KeyKind kind, bool lists) {
    cyaml_schema_value_t v = text_value;
    v.flags |= CYAML_FLAG_OPTIONAL;
    if (kind == KEY_TEXTS && lists) /* texts_load reads it */
        return (cyaml_schema_value_t){.type = CYAML_IGNORE, .flags = CYAML_FLAG_OPTIONAL};
    if (kind == KEY_PAIR) {
        v.type = CYAML_SEQUENCE_FIXED;
        v.data_size = sizeof(char *);
        v.sequence.entry = &text_value;
        v.sequence.min = v.sequence.max = 2;
    }
    return v;
}

/* A section is a mapping over the slots of its keys; keys without a dot stand at the top. */
void schema_make(Arena *a, Schema *s, bool lists) {
    cyaml_schema_field_t *top = s->top, *member = s->member;
    CHECK(recipe_n_keys < KEYS_MAX);
    for (int64_t i = 0; i < recipe_n_keys;) {
        const char *name = recipe_keys[i].name;
        const int64_t n = key_section(name), first = i;
        if (n == 0) {
            *top++ = (cyaml_schema_field_t){.key = name,
                                            .data_offset = (uint32_t)(i * SLOT),
                                            .value = value_of(recipe_keys[i].kind, lists)};
            i++;
            continue;
        }
        *top = (cyaml_schema_field_t){.key = str_copy(a, (Str){name, n}).p,
                                      .data_offset = (uint32_t)(first * SLOT)};
        top->value = (cyaml_schema_value_t){
            .type = CYAML_MAPPING, .flags = CYAML_FLAG_OPTIONAL, .mapping = {.fields = member}};
        for (; i < recipe_n_keys && !strncmp(recipe_keys[i].name, name, (size_t)n + 1); i++)
            *member++ = (cyaml_schema_field_t){.key = recipe_keys[i].name + n + 1,
                                               .data_offset = (uint32_t)((i - first) * SLOT),
                                               .value = value_of(recipe_keys[i].kind, lists)};
        member++;
        top++->value.data_size = (uint32_t)((i - first) * SLOT);
    }
    s->root = (cyaml_schema_value_t){.type = CYAML_MAPPING,
                                     .flags = CYAML_FLAG_POINTER,
                                     .data_size = sizeof(Loaded),
                                     .mapping = {.fields = s->top}};
}

/* data.train as a list, and all other keys, which were read already, passed over: so what is not
 * known is refused where it stands in the list. */
typedef struct ListSchema {
    cyaml_schema_field_t top[KEYS_MAX], data[KEYS_MAX]; /* each ends with a zero entry */
    cyaml_schema_value_t root;
} ListSchema;

static void list_schema_make(Arena *a, ListSchema *s) {
    cyaml_schema_field_t *top = s->top, *data = s->data;
    Str before = {0};
    for (int64_t i = 0; i < recipe_n_keys; i++) {
        const char *name = recipe_keys[i].name;
        const Str section = {name, key_section(name)};
        cyaml_schema_field_t passed = {.key = name};
        passed.value = (cyaml_schema_value_t){.type = CYAML_IGNORE, .flags = CYAML_FLAG_OPTIONAL};
        if (str_eq(section, STR("data"))) {
            passed.key += section.n + 1;
            *data++ = recipe_keys[i].kind == KEY_TEXTS ? train_field : passed;
        } else if (!section.n || !str_eq(section, before)) {
            if (section.n) passed.key = str_copy(a, section).p;
            *top++ = passed;
        }
        before = section;
    }
    *top = (cyaml_schema_field_t){.key = "data"};
    top->value = (cyaml_schema_value_t){.type = CYAML_MAPPING,
                                        .flags = CYAML_FLAG_OPTIONAL,
                                        .data_size = sizeof(ManySection),
                                        .mapping = {.fields = s->data}};
    s->root = (cyaml_schema_value_t){.type = CYAML_MAPPING,
                                     .flags = CYAML_FLAG_POINTER,
                                     .data_size = sizeof(ManyTexts),
                                     .mapping = {.fields = s->top}};
}

/* ---- what went wrong ------------------------------------------------------------------------- */

/* "line: 3" of the first line of the backtrace that has one. */
static int place_of(const char *log) {
    int line = 0;
    const char *p = strstr(log, "line: ");
    return p && sscanf(p, "line: %d", &line) == 1 ? line : 0;
}

/* The full name of the key, or the section, that was probably meant. A name may be whole
 * ("optim.lr") or what stands in the file ("lr", "optim"). */
static const char *key_near(const Schema *s, Str name) {
    const char *spelled[3 * KEYS_MAX] = {0}, *full[3 * KEYS_MAX] = {0};
    int64_t n = 0;
    for (int64_t i = 0; i < recipe_n_keys; i++) {
        const char *key = recipe_keys[i].name;
        spelled[n] = full[n] = key, n++;
        spelled[n] = key + key_section(key) + (key_section(key) > 0), full[n++] = key;
    }
    for (const cyaml_schema_field_t *f = s->top; f->key; f++) spelled[n] = full[n] = f->key, n++;
    const char *near = str_nearest(name, spelled, n);
    for (int64_t i = 0; near && i < n; i++)
        if (near == spelled[i]) return full[i];
    return NULL;
}

static bool unknown_key(const Schema *s, Str name, const char *from, Err *err) {
    const char *near = key_near(s, name);
    return err_set(err, ERR_USAGE, "%s: there is no key \"%.*s\"%s%s%s", from, STRF(name),
                   near ? "; did you mean " : ". docs/training.md lists them", near ? near : "",
                   near ? "?" : "");
}

bool yaml_failed(const Schema *s, const char *path, cyaml_err_t code, const Buf *log, Err *err) {
    const Str line = first_line(buf_str(log)), unknown = STR("Unexpected key: ");
    const int place = log->n ? place_of(log->p) : 0;
    char from[600];
    snprintf(from, sizeof from, place ? "%s, near line %d" : "%s", path, place);
    if (str_starts(line, unknown))
        return unknown_key(s, (Str){line.p + unknown.n, line.n - unknown.n}, from, err);
    return err_set(err, ERR_USAGE, "%s: %s (%.*s)", from, cyaml_strerror(code), STRF(line));
}

/* ---- reading --------------------------------------------------------------------------------- */

Str slot_text(Arena *a, const Loaded *in, int64_t i) {
    if (!in || !in->slot[i].z) return (Str){0};
    if (recipe_keys[i].kind != KEY_PAIR) return str_of(in->slot[i].z);
    return str_fmt(a, "%s, %s", in->slot[i].pair[0], in->slot[i].pair[1]);
}

static bool file_read(Str *value, Arena *a, const Schema *s, const char *path, Err *err) {
    Str bytes;
    if (!os_read(a, &bytes, path, RECIPE_BYTES, err)) return false;
    Buf log = {.a = a};
    const cyaml_config_t config = config_of(&log, 0);
    Loaded *in = NULL;
    cyaml_err_t code = cyaml_load_data((const uint8_t *)bytes.p, (size_t)bytes.n, &config, &s->root,
                                       (cyaml_data_t **)&in, NULL);
    if (code != CYAML_OK) return yaml_failed(s, path, code, &log, err);
    for (int64_t i = 0; i < recipe_n_keys; i++) value[i] = str_copy(a, slot_text(a, in, i));
    cyaml_free(&config, &s->root, in, 0);
    ListSchema *list = PUSH(a, ListSchema, 1);
    list_schema_make(a, list);
    for (int64_t i = 0; i < recipe_n_keys; i++)
        if (recipe_keys[i].kind == KEY_TEXTS
            && !texts_load(&value[i], a, bytes, &list->root, path, err))
            return false;
    return true;
}

/* "key=value" over what the file says. */
bool override(Str *value, const Schema *s, const char *set, Err *err) {
    const char *eq = strchr(set, '=');
    if (!eq)
        return err_set(err, ERR_USAGE, "--set %s: expected key=value, like optim.lr=1e-3", set);
    const Str name = {set, eq - set};
    for (int64_t i = 0; i < recipe_n_keys; i++)
        if (str_eq(name, str_of(recipe_keys[i].name))) return value[i] = str_of(eq + 1), true;
    return unknown_key(s, name, "--set", err);
}

static bool values_set(Recipe *r, Arena *a, const Str *value, Err *err) {
    for (int64_t i = 0; i < recipe_n_keys; i++) {
        const Key *k = &recipe_keys[i];
        const bool given = value[i].n > 0;
        if (!given && !k->initial)
            return err_set(err, ERR_USAGE, "%s: the key %s is missing (or give it by --set)",
                           r->path, k->name);
        if (!given && k->to == KEY_JSON) continue;
        if (!key_set(r, a, i, given ? value[i] : str_of(k->initial), r->path, err)) return false;
    }
    return true;
}

/* ---- keys that must fit each other ----------------------------------------------------------- */

/* The model's section as members of a config.json: "\"hidden_size\": 64, ". */
static Str model_json(Arena *a, const Recipe *r) {
    Buf b = {.a = a};
    for (int64_t i = 0; i < recipe_n_keys; i++)
        if (recipe_keys[i].to == KEY_JSON && r->text[i].n)
            buf_fmt(&b, "\"%s\": %.*s, ", recipe_keys[i].name + STR("model.").n, STRF(r->text[i]));
    return buf_str(&b);
}

static bool batch_check(Recipe *r, Err *err) {
    if (r->batch.micro == 0) r->batch.micro = r->batch.tokens;
    if (r->batch.micro % r->batch.sequence)
        return err_set(err, ERR_USAGE, "%s: %s (%lld) is not a multiple of batch.sequence (%lld)",
                       r->path, r->batch.micro == r->batch.tokens ? "batch.tokens" : "batch.micro",
                       (long long)r->batch.micro, (long long)r->batch.sequence);
    return r->batch.tokens % r->batch.micro == 0
           || err_set(err, ERR_USAGE,
                      "%s: batch.tokens (%lld) is not a multiple of batch.micro (%lld)", r->path,
                      (long long)r->batch.tokens, (long long)r->batch.micro);
}

static bool optim_check(const Recipe *r, Err *err) {
    const double decay = r->optim.decay_steps;
    if (r->optim.muon_steps != 5 && r->optim.muon_steps != 10)
        return err_set(err, ERR_USAGE, "%s: optim.muon_steps is %lld, expected 10 or 5", r->path,
                       (long long)r->optim.muon_steps);
    if (r->optim.moments == DTYPE_BF16 && r->optim.betas[1] > 0.95)
        return err_set(err, ERR_USAGE,
                       "%s: optim.moments is bf16 and the second of optim.betas %.10g: above 0.95 "
                       "what a step adds to a moment is lost in its rounding. Take 0.95, or "
                       "moments f32",
                       r->path, r->optim.betas[1]);
    if (decay >= 1 && decay != (double)(int64_t)decay)
        return err_set(err, ERR_USAGE,
                       "%s: optim.decay_steps is %.10g, expected a whole number, or a part of "
                       "optim.steps below 1",
                       r->path, decay);
    return strcmp(r->optim.schedule, "wsd") || r->optim.warmup + decay_steps(r) <= r->optim.steps
           || err_set(err, ERR_USAGE,
                      "%s: optim.warmup (%lld) and optim.decay_steps (%lld) are more than the "
                      "%lld of optim.steps",
                      r->path, (long long)r->optim.warmup, (long long)decay_steps(r),
                      (long long)r->optim.steps);
}

static bool model_check(const Recipe *r, Err *err) {
    const bool fresh = !r->init_from[0];
    if (fresh && !r->tokenizer[0])
        return err_set(err, ERR_USAGE,
                       "%s: the key tokenizer is missing (or give it by --set): only with "
                       "init_from, which has its own, may it be left out",
                       r->path);
    if (fresh && !r->model.family[0])
        return err_set(err, ERR_USAGE,
                       "%s: model.family is missing (llama, qwen3, deepseek_v3, ...: "
                       "docs/training.md), or init_from, the model to start from",
                       r->path);
    return fresh || (!r->model.json.n && !r->model.family[0])
           || err_set(err, ERR_USAGE,
                      "%s: init_from brings its own shape; leave out the keys of model.*", r->path);
}

/* A teacher that reads the texts of data.train must be a model here. */
static bool logits_check(const Recipe *r, Err *err) {
    const Str teacher = str_of(r->distill.teacher);
    if (!teacher.n || !r->data.train[0])
        return err_set(err, ERR_USAGE,
                       "%s: the key %s is missing: with distill.logits a teacher reads texts, and "
                       "the student learns what it would say at each place of them",
                       r->path, teacher.n ? "data.train" : "distill.teacher");
    if (str_starts(teacher, STR("http://")) || str_starts(teacher, STR("https://")))
        return err_set(err, ERR_USAGE,
                       "%s: distill.logits needs a teacher that is a folder or a file here, and "
                       "distill.teacher is the address %s: leave distill.logits out to learn its "
                       "answers",
                       r->path, r->distill.teacher);
    return !r->distill.prompts[0]
           || err_set(err, ERR_USAGE,
                      "%s: with distill.logits the texts are those of data.train, and "
                      "distill.prompts is %s: leave one of them out",
                      r->path, r->distill.prompts);
}

/* What a run learns from: texts that are named, or what its teacher answers. */
static bool data_check(Recipe *r, Arena *a, Err *err) {
    const bool distill = r->objective == OBJECTIVE_DISTILL;
    if (!distill && !r->data.train[0])
        return err_set(err, ERR_USAGE, "%s: the key data.train is missing (or give it by --set)",
                       r->path);
    if (!distill) return true;
    if (r->distill.logits > 0) return logits_check(r, err);
    if (!r->distill.teacher[0] || !r->distill.prompts[0])
        return err_set(err, ERR_USAGE,
                       "%s: the key distill.%s is missing, without which objective distill has "
                       "nothing to %s",
                       r->path, r->distill.teacher[0] ? "prompts" : "teacher",
                       r->distill.teacher[0] ? "ask" : "learn from");
    if (r->data.train[0])
        return err_set(err, ERR_USAGE,
                       "%s: objective distill learns what the teacher answers, and data.train is "
                       "%s: leave it out. For a mixture, train an sft recipe on distilled.jsonl",
                       r->path, r->data.train);
    r->data.part[0].source = str_fmt(a, "%s/distilled.jsonl", r->checkpoint.folder).p;
    r->data.train = r->data.part[0].source;
    return true;
}

/* The first step from `step` on in which no part of data.train is drawn from. */
static int64_t step_bare(const Recipe *r, int64_t step) {
    int64_t next = step;
    for (int64_t i = 0; i < r->data.n_parts; i++)
        if (part_first(r, i) <= step && part_end(r, i) > step) next = MAX(next, part_end(r, i));
    return next == step ? step : step_bare(r, next);
}

static bool curriculum_check(const Recipe *r, Err *err) {
    const int64_t bare = step_bare(r, 0);
    for (int64_t i = 0; i < r->data.n_parts; i++)
        if (part_first(r, i) >= part_end(r, i))
            return err_set(err, ERR_USAGE,
                           "%s: %s of data.train is drawn from between %.10g and %.10g of the "
                           "%lld steps, which is never",
                           r->path, r->data.part[i].source, r->data.part[i].from,
                           r->data.part[i].to, (long long)r->optim.steps);
    return bare >= r->optim.steps
           || err_set(err, ERR_USAGE,
                      "%s: no text of data.train is drawn from in step %lld of %lld: let the times "
                      "from `from` to `to` meet",
                      r->path, (long long)bare + 1, (long long)r->optim.steps);
}

bool recipe_make(Recipe *r, Arena *a, const char *path, const Str *value, Err *err) {
    *r = (Recipe){.path = str_copy(a, str_of(path)).p, .text = PUSH(a, Str, recipe_n_keys)};
    if (!values_set(r, a, value, err)) return false;
    r->model.json = model_json(a, r);
    return model_check(r, err) && data_check(r, a, err) && batch_check(r, err)
           && optim_check(r, err) && curriculum_check(r, err);
}

bool recipe_read(Recipe *r, Arena *a, const char *path, const char *const *set, int64_t n_set,
                 Err *err) {
    Str *value = PUSH(a, Str, recipe_n_keys);
    Schema *schema = PUSH(a, Schema, 1);
    schema_make(a, schema, true);
    if (!file_read(value, a, schema, path, err)) return false;
    for (int64_t i = 0; i < n_set; i++)
        if (!override(value, schema, set[i], err)) return false;
    return recipe_make(r, a, path, value, err);
}
