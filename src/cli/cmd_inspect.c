/* cmd_inspect.c -- `lisao inspect`: what the files of a model say, whether it runs here or not. */
#include "cli/cli.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

enum { ARRAY_SHOWN = 16 }; /* longer arrays are counted */

static json_t *text_json(Arena *a, Str s) {
    json_t *j = json_stringn(s.n ? s.p : "", (size_t)s.n);
    return j ? j : json_string(path_shown(a, str_copy(a, s).p)); /* it is no UTF-8 */
}

static json_t *real_json(double x) {
    return isfinite(x) ? json_real(x) : json_string(isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
}

/* ---- configuration --------------------------------------------------------------------------- */

static json_t *array_json(const char *of, int64_t n, const int32_t *ints, const float *floats) {
    if ((!ints && !floats) || n > ARRAY_SHOWN)
        return json_pack("{s:s, s:I}", "array_of", of, "count", (json_int_t)n);
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(list, ints ? json_integer(ints[i]) : real_json((double)floats[i]));
    return list;
}

/* NULL with an Err where the value cannot be given. */
static json_t *meta_json(const Store *s, Arena *a, const char *key, Err *err) {
    int64_t i, n = 0;
    double x;
    bool yes;
    Str text, *texts;
    int32_t *ints;
    float *floats;
    switch (store_meta_type(s, key)) {
    case META_INT: return store_meta_i64(s, key, &i, err) ? json_integer(i) : NULL;
    case META_FLOAT: return store_meta_f64(s, key, &x, err) ? real_json(x) : NULL;
    case META_BOOL: return store_meta_bool(s, key, &yes, err) ? json_boolean(yes) : NULL;
    case META_STR: return store_meta_str(s, key, &text, err) ? text_json(a, text) : NULL;
    case META_STRS:
        return store_meta_strs(s, a, key, &texts, &n, err) ? array_json("texts", n, NULL, NULL)
                                                           : NULL;
    case META_INTS:
        return store_meta_i32s(s, a, key, &ints, &n, err) ? array_json("integers", n, ints, NULL)
                                                          : NULL;
    case META_FLOATS:
        return store_meta_f32s(s, a, key, &floats, &n, err) ? array_json("floats", n, NULL, floats)
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
    json_decref(config);
    err_set(err, ERR_FORMAT, "%s/config.json: line %d: %s", store_path(s), config ? 1 : at.line,
            config ? "is no JSON object" : at.text);
    return NULL;
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

/* Of each type that there is: how many tensors, numbers and bytes. */
static json_t *types_json(const Store *s) {
    json_t *types = json_object();
    for (int64_t i = 0; i < store_count(s); i++) {
        const Tensor *t = store_at(s, i);
        json_int_t n = 0, elements = 0, bytes = 0;
        json_t *old = json_object_get(types, dtype_name(t->type));
        if (old)
            json_unpack(old, "{s:I, s:I, s:I}", "tensors", &n, "elements", &elements, "bytes",
                        &bytes);
        json_object_set_new(types, dtype_name(t->type),
                            json_pack("{s:I, s:I, s:I}", "tensors", n + 1, "elements",
                                      elements + (json_int_t)tensor_elements(t), "bytes",
                                      bytes + (json_int_t)t->bytes));
    }
    return types;
}

/* ---- printing -------------------------------------------------------------------------------- */

/* Line breaks stay; other control characters must not reach a terminal. */
static void print_lines(const char *text) {
    for (; *text; text++)
        putchar((*text > 0 && *text < ' ' && *text != '\n' && *text != '\t') || *text == 0x7f
                    ? '?'
                    : *text);
}

static void print_text(Arena *a, json_t *all) {
    const char *key;
    json_t *value;
    size_t i;
    printf("model %s\n\nconfiguration\n", json_string_value(json_object_get(all, "path")));
    json_object_foreach(json_object_get(all, "config"), key, value) {
        printf("  %s = ", path_shown(a, key));
        json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
        printf("\n");
    }
    printf("\ntensors\n");
    json_array_foreach(json_object_get(all, "tensors"), i, value) {
        printf("  %-8s %s ", json_string_value(json_object_get(value, "type")),
               path_shown(a, json_string_value(json_object_get(value, "name"))));
        json_dumpf(json_object_get(value, "shape"), stdout, JSON_COMPACT);
        printf("\n");
    }
    printf("\ntypes\n");
    json_object_foreach(json_object_get(all, "types"), key, value)
        printf("  %-8s %6lld tensors, %.1f M numbers, %.1f MB\n", key,
               (long long)json_integer_value(json_object_get(value, "tensors")),
               (double)json_integer_value(json_object_get(value, "elements")) / 1e6,
               (double)json_integer_value(json_object_get(value, "bytes")) / 1e6);
    const char *template = json_string_value(json_object_get(all, "chat_template"));
    printf("\nchat template%s\n", template ? "" : ": none");
    if (template) print_lines(template), printf("\n");
}

static bool inspect(const char *name, bool json, Err *err) {
    Arena *a = arena_open("inspect", ARENA_NO_LIMIT);
    Bundle b;
    bool ok = bundle_open(&b, a, name, 0, err);
    json_t *config = ok ? settings_json(b.store, a, err) : NULL;
    if (config) {
        Err none = {0};
        Str template = {0};
        bool has =
            bundle_load(&b, BUNDLE_TOKENIZER, &none) && bundle_template(&b, &template, &none);
        json_t *all =
            json_pack("{s:s, s:o, s:o, s:o, s:o}", "path", path_shown(a, b.path), "config", config,
                      "tensors", tensors_json(b.store, a), "types", types_json(b.store),
                      "chat_template", has && template.n ? text_json(a, template) : json_null());
        if (json)
            json_dumpf(all, stdout, JSON_INDENT(2)), printf("\n");
        else
            print_text(a, all);
        json_decref(all);
    }
    bundle_close(&b);
    arena_close(a);
    return config;
}

int cmd_inspect(int argc, char **argv) {
    bool json = false;
    const Opt opts[] = {FLAG_OPT("json", &json, "Print one JSON object.")};
    const Command c = {
        "inspect",
        "MODEL",
        "show what the files of a model say",
        "Prints the configuration (a GGUF file's metadata or config.json), the tensors with their "
        "types and shapes in the order of the file, how much there is of each type, and the chat "
        "template. No weight is read, and the model need not be of a family that runs.",
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
