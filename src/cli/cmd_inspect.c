/* cmd_inspect.c -- `lisao inspect`: what the files of a model say, whether it runs here or not. */
#include "cli/cli.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ARRAY_SHOWN = 16, TEXT_SHOWN = 400 }; /* longer arrays are counted, longer texts cut */

static json_t *text_json(Arena *a, Str s) {
    json_t *j = json_stringn(s.n ? s.p : "", (size_t)s.n);
    return j ? j : json_string(path_shown(a, str_copy(a, s).p)); /* it is no UTF-8 */
}

static json_t *real_json(double x) {
    return isfinite(x) ? json_real(x) : json_string(isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
}

/* ---- configuration --------------------------------------------------------------------------- */

/* An array of one of three types: its numbers or texts, or how many there are. */
static json_t *array_json(Arena *a, const char *of, int64_t n, const Str *texts,
                          const int32_t *ints, const float *floats) {
    if (n > ARRAY_SHOWN) return json_pack("{s:s, s:I}", "array_of", of, "count", (json_int_t)n);
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(list, texts  ? text_json(a, texts[i])
                                    : ints ? json_integer(ints[i])
                                           : real_json((double)floats[i]));
    return list;
}

/* NULL with an Err where the value cannot be given. */
static json_t *meta_json(const Store *s, Arena *a, const char *key, Err *err) {
    int64_t i, n = 0;
    double x;
    bool yes;
    Str text, *texts = NULL;
    int32_t *ints = NULL;
    float *floats = NULL;
    switch (store_meta_type(s, key)) {
    case META_INT: return store_meta_i64(s, key, &i, err) ? json_integer(i) : NULL;
    case META_FLOAT: return store_meta_f64(s, key, &x, err) ? real_json(x) : NULL;
    case META_BOOL: return store_meta_bool(s, key, &yes, err) ? json_boolean(yes) : NULL;
    case META_STR: return store_meta_str(s, key, &text, err) ? text_json(a, text) : NULL;
    case META_STRS:
        return store_meta_strs(s, a, key, &texts, &n, err)
                   ? array_json(a, "texts", n, texts, NULL, NULL)
                   : NULL;
    case META_INTS:
        return store_meta_i32s(s, a, key, &ints, &n, err)
                   ? array_json(a, "integers", n, NULL, ints, NULL)
                   : NULL;
    case META_FLOATS:
        return store_meta_f32s(s, a, key, &floats, &n, err)
                   ? array_json(a, "floats", n, NULL, NULL, floats)
                   : NULL;
    default: return json_string("an array of booleans");
    }
}

/* The metadata of a GGUF file but for the chat template, or config.json. */
static json_t *settings_json(const Store *s, Arena *a, Err *err) {
    json_t *config = json_object();
    for (int64_t i = 0; i < store_meta_count(s); i++) {
        const char *key = str_copy(a, store_meta_key(s, i)).p;
        if (!strcmp(key, "tokenizer.chat_template")) continue;
        Err why = {0};
        json_t *value = meta_json(s, a, key, &why);
        json_object_set_new(config, path_shown(a, key),
                            value ? value : json_string(path_shown(a, why.msg)));
    }
    Str text;
    json_error_t at;
    if (!store_json(s, a, "config.json", &text, err)) return json_decref(config), NULL;
    if (!text.n) return config;
    json_decref(config);
    config = json_loadb(text.p, (size_t)text.n, 0, &at);
    if (config && json_is_object(config)) return config;
    err_set(err, ERR_FORMAT, "%s/config.json: line %d: %s", store_path(s), config ? 1 : at.line,
            config ? "is no JSON object" : at.text);
    return json_decref(config), NULL;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static json_t *tensors_json(const Store *s, Arena *a) {
    json_t *list = json_array();
    for (int64_t i = 0; i < store_count(s); i++) {
        const Tensor *t = store_at(s, i);
        json_t *shape = json_array();
        for (int k = 0; k < t->n_dims; k++) json_array_append_new(shape, json_integer(t->dim[k]));
        json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:I}", "name", text_json(a, t->name),
                                              "type", dtype_name(t->type), "shape", shape, "bytes",
                                              (json_int_t)t->bytes));
    }
    return list;
}

/* How many tensors, numbers and bytes, of one type or of all. */
typedef struct Sum {
    int64_t tensors, numbers, bytes;
} Sum;

static void sum_add(Sum *s, const Tensor *t) {
    s->tensors++, s->numbers += tensor_elements(t), s->bytes += t->bytes;
}

static json_t *sum_json(const Sum *s) {
    return json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)s->tensors, "numbers",
                     (json_int_t)s->numbers, "bytes", (json_int_t)s->bytes);
}

static void sums_make(Sum of[DTYPE_N], Sum *all, const Store *s) {
    for (int64_t i = 0; i < store_count(s); i++)
        sum_add(&of[store_at(s, i)->type], store_at(s, i)), sum_add(all, store_at(s, i));
}

static json_t *types_json(const Sum of[DTYPE_N]) {
    json_t *types = json_object();
    for (int t = 0; t < DTYPE_N; t++)
        if (of[t].tensors) json_object_set_new(types, dtype_name((DType)t), sum_json(&of[t]));
    return types;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Family and counts where it runs; else why it does not. */
static json_t *runs_json(Bundle *b, Arena *a) {
    Err why = {0};
    if (!bundle_load(b, BUNDLE_MODEL, &why))
        return json_pack("{s:b, s:s}", "runs", false, "why", path_shown(a, why.msg));
    const Config *c = &b->model->cfg;
    const ModelSize n = config_size(c);
    return json_pack("{s:b, s:s, s:I, s:I}", "runs", true, "family", family_name(c->family),
                     "parameters", (json_int_t)n.total, "active_parameters", (json_int_t)n.active);
}

/* NULL with an Err. A template that cannot be read is told in its place: the rest still counts. */
static json_t *model_json(Bundle *b, Arena *a, Err *err) {
    json_t *config = settings_json(b->store, a, err);
    if (!config) return NULL;
    Sum of[DTYPE_N] = {0}, all = {0};
    sums_make(of, &all, b->store);
    Str template;
    Err why = {0};
    bool ok = bundle_template(b, &template, &why);
    json_t *j = json_pack("{s:s}", "path", path_shown(a, b->path)), *runs = runs_json(b, a);
    json_object_update(j, runs);
    json_decref(runs);
    json_object_set_new(j, "config", config);
    json_object_set_new(j, "chat_template",
                        ok && template.n ? text_json(a, template) : json_null());
    if (!ok) json_object_set_new(j, "chat_template_error", json_string(path_shown(a, why.msg)));
    json_object_set_new(j, "tensors", tensors_json(b->store, a));
    json_object_set_new(j, "types", types_json(of));
    json_object_set_new(j, "total", sum_json(&all));
    return j;
}

/* ---- printing -------------------------------------------------------------------------------- */

static const char *text_at(const json_t *j, const char *key) {
    return json_string_value(json_object_get(j, key));
}

static long long int_at(const json_t *j, const char *key) {
    return (long long)json_integer_value(json_object_get(j, key));
}

/* The value on one line; not the whole of a long text, such as a second template. */
static void print_setting(Arena *a, const char *key, const json_t *value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    const char *of = text_at(value, "array_of");
    if (of && json_object_size(value) == 2)
        printf("  %s = %lld %s\n", path_shown(a, key), int_at(value, "count"), of);
    else if (strlen(text) <= TEXT_SHOWN)
        printf("  %s = %s\n", path_shown(a, key), path_shown(a, text));
    else
        printf("  %s = %s ... (%lld bytes; all of it with --json)\n", path_shown(a, key),
               path_shown(a, str_copy(a, (Str){text, TEXT_SHOWN}).p), (long long)strlen(text));
    free(text);
}

static void print_sum(const char *name, const json_t *sum) {
    const double numbers = (double)int_at(sum, "numbers"), bytes = (double)int_at(sum, "bytes");
    printf("  %-8s %8lld %12.2f %12.2f", name, int_at(sum, "tensors"), numbers / 1e6, bytes / 1e6);
    if (numbers > 0) printf(" %10.2f", 8 * bytes / numbers);
    printf("\n");
}

static void print_runs(const json_t *all) {
    if (!json_is_true(json_object_get(all, "runs"))) {
        printf("\nThis model does not run here: %s\n", text_at(all, "why"));
        return;
    }
    const double total = (double)int_at(all, "parameters"),
                 active = (double)int_at(all, "active_parameters");
    printf("\nIt runs as family %s: %.2f M parameters", text_at(all, "family"), total / 1e6);
    if (active < total) printf(", of which a token uses %.2f M", active / 1e6);
    printf("\n");
}

/* The longest parts come first, so that a terminal ends with the sums. */
static void print_text(Arena *a, const json_t *all) {
    const char *key, *template = text_at(all, "chat_template");
    const char *broken = text_at(all, "chat_template_error");
    json_t *value;
    size_t i;
    printf("model %s\n\nconfiguration\n", text_at(all, "path"));
    json_object_foreach(json_object_get(all, "config"), key, value) print_setting(a, key, value);
    printf("\ntensors\n");
    json_array_foreach(json_object_get(all, "tensors"), i, value) {
        char *shape = json_dumps(json_object_get(value, "shape"), JSON_COMPACT);
        printf("  %-8s %s %s\n", text_at(value, "type"), path_shown(a, text_at(value, "name")),
               shape);
        free(shape);
    }
    printf("\nchat template%s%s\n", template ? "" : ": ", template ? "" : broken ? broken : "none");
    if (template) printf("%s\n", text_shown(a, template));
    printf("\n%-10s %8s %12s %12s %10s\n", "types", "tensors", "M numbers", "MB", "bits each");
    json_object_foreach(json_object_get(all, "types"), key, value) print_sum(key, value);
    print_sum("in all", json_object_get(all, "total"));
    print_runs(all);
}

static bool inspect(const char *name, bool json, Err *err) {
    Arena *a = arena_open("inspect", ARENA_NO_LIMIT);
    Bundle b = {0};
    bool open = model_pulled(&name, a, name, err) && bundle_open(&b, a, name, 0, err);
    json_t *all = open ? model_json(&b, a, err) : NULL;
    if (all && !json) print_text(a, all);
    if (all && json)
        json_show(all);
    else
        json_decref(all);
    bundle_close(&b);
    arena_close(a);
    return err->code == ERR_NONE;
}

int cmd_inspect(int argc, char **argv) {
    bool json = false;
    const Opt opts[] = {FLAG_OPT("json", &json, "Print one JSON object.")};
    const Command c = {
        "inspect",
        "MODEL",
        "show what the files of a model say",
        "Prints the configuration (a GGUF file's metadata or config.json), the tensors with their "
        "types and shapes in the order of the file, the chat template, how much there is of each "
        "type, and whether the model runs here. No weight is read, and a model of a family that "
        "does not run is shown, too.",
        "lisao inspect model.gguf\nlisao inspect folder/ --json\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    if (argc == 2 && inspect(argv[1], json, &err)) return 0;
    if (argc != 2) err_set(&err, ERR_USAGE, "expected one MODEL, found %d arguments", argc - 1);
    return command_failed(&c, &err);
}
