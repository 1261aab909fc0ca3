/* settings.c -- options from the environment and from a YAML file, the latter through libcyaml.
 *
 * The library is used for the structure; every value is loaded as the text that it is and read by
 * opt_set, as the command line's are. */
#include "cli/settings.h"

#include <cyaml/cyaml.h>
#include <stdio.h>

enum { OPTS = 64, FILE_BYTES = 1 << 20, NAME = 80 };

static bool setting_take(const Opt *o, const char *value, const char *from, Err *err) {
    Err why = {0};
    if (o->kind != OPT_FLAG) {
        if (opt_set(o, value, &why)) return true;
        return err_set(err, ERR_USAGE, "%s: %s", from, why.msg);
    }
    const bool yes = !strcmp(value, "true");
    if (!yes && strcmp(value, "false") != 0)
        return err_set(err, ERR_USAGE, "%s: %s must be true or false, not '%s'", from, o->name,
                       value);
    *(bool *)o->to = yes;
    return true;
}

bool settings_from_env(const Command *c, bool *given, Err *err) {
    char name[NAME];
    for (int64_t i = 0; i < c->n_opts; i++) {
        snprintf(name, sizeof name, "LISAO_%s", c->opts[i].name);
        for (char *p = name; *p; p++)
            *p = *p == '-' ? '_' : *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
        const char *value = os_env(name);
        if (given[i] || !value || !*value) continue;
        if (!setting_take(&c->opts[i], value, name, err)) return false;
        given[i] = true;
    }
    return true;
}

/* ---- the file -------------------------------------------------------------------------------- */

/* What the library fills: slot i belongs to option i. */
typedef struct Slot {
    union {
        char *text;
        char **list;
        struct Slot *entries; /* of mappings: so many slots for each as its table has options */
    } is;
    uint32_t n; /* of a list */
} Slot;

static const cyaml_schema_value_t text_schema = {.type = CYAML_STRING,
                                                 .flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
                                                 .data_size = sizeof(char),
                                                 .string = {.min = 0, .max = UINT32_MAX}};
static const cyaml_schema_value_t entry_schema = {.type = CYAML_STRING,
                                                  .flags = CYAML_FLAG_POINTER,
                                                  .data_size = sizeof(char),
                                                  .string = {.min = 0, .max = UINT32_MAX}};

static cyaml_schema_field_t field_of(const Opt *o, int64_t i) {
    const uint32_t at = (uint32_t)(i * (int64_t)sizeof(Slot));
    cyaml_schema_field_t f = {.key = o->name, .data_offset = at, .value = text_schema};
    if (o->kind != OPT_LIST) return f;
    f.count_offset = at + (uint32_t)offsetof(Slot, n);
    f.count_size = sizeof(uint32_t);
    f.value.type = CYAML_SEQUENCE;
    f.value.data_size = sizeof(char *);
    f.value.sequence.entry = &entry_schema;
    f.value.sequence.min = 0;
    f.value.sequence.max = COUNT(((OptList *)0)->v);
    return f;
}

static bool is_named_in(const char *name, const char *const *list) {
    while (*list && strcmp(*list, name) != 0) list++;
    return *list;
}

/* Those of a table; returns the place behind them. */
static cyaml_schema_field_t *fields_of(cyaml_schema_field_t *f, const Opt *opts, int64_t n,
                                       const char *const *not_there) {
    for (int64_t i = 0; i < n; i++)
        if (!is_named_in(opts[i].name, not_there)) *f++ = field_of(&opts[i], i);
    return f;
}

/* The list of mappings, in the slot behind those of the options. */
static cyaml_schema_field_t list_field(const SettingList *list, int64_t i,
                                       const cyaml_schema_value_t *entry) {
    const uint32_t at = (uint32_t)(i * (int64_t)sizeof(Slot));
    cyaml_schema_field_t f = {.key = list->name, .data_offset = at, .value = text_schema};
    f.count_offset = at + (uint32_t)offsetof(Slot, n);
    f.count_size = sizeof(uint32_t);
    f.value.type = CYAML_SEQUENCE;
    f.value.data_size = entry->data_size;
    f.value.sequence.entry = entry;
    f.value.sequence.min = 1;
    f.value.sequence.max = (uint32_t)list->most;
    return f;
}

/* The library's error lines, one after the other. */
static void settings_note(cyaml_log_t level, void *ctx, const char *fmt, va_list args) {
    char line[512];
    if (level < CYAML_LOG_ERROR) return;
    vsnprintf(line, sizeof line, fmt, args);
    buf_add(ctx, str_of(line));
}

/* The line on which a setting begins, of a file in the usual form; 0: of another. inside: also that
 * of a list's entry. */
static int64_t line_of(Str bytes, Str key, bool inside) {
    for (int64_t line = 1; bytes.n; line++) {
        Str s = str_cut(&bytes, '\n');
        while (inside && s.n && char_in(*s.p, " -")) s.p++, s.n--;
        if (str_starts(s, key) && s.n > key.n && char_in(s.p[key.n], ": ")) return line;
    }
    return 0;
}

/* "Load: Unexpected key: prot\n ...". The library names the line of the mapping. */
static bool file_refused(const cyaml_schema_field_t *field, const cyaml_schema_field_t *inner,
                         const char *path, Str bytes, cyaml_err_t code, const Buf *log, Err *err) {
    const Str unknown = STR("Load: Unexpected key: ");
    const char *names[2 * OPTS + 1];
    int64_t n = 0;
    Str rest = buf_str(log);
    const Str first = str_cut(&rest, '\n');
    if (!str_starts(first, unknown))
        return err_set(err, ERR_USAGE, "%s: %s (%.*s)", path, cyaml_strerror(code), STRF(first));
    const Str name = {first.p + unknown.n, first.n - unknown.n};
    const int64_t line = line_of(bytes, name, true);
    char from[600];
    snprintf(from, sizeof from, line ? "%s, line %lld" : "%s", path, (long long)line);
    for (const cyaml_schema_field_t *f = field; f->key; f++) names[n++] = f->key;
    for (const cyaml_schema_field_t *f = inner; f->key; f++) names[n++] = f->key;
    const char *near = str_nearest(name, names, n);
    return err_set(err, ERR_USAGE, "%s: there is no setting \"%.*s\"%s%s%s", from, STRF(name),
                   near ? "; is " : "", near ? near : "", near ? " meant?" : "");
}

static bool slot_take(const Opt *o, const Slot *s, Arena *a, const char *from, Err *err) {
    if (o->kind != OPT_LIST) return setting_take(o, str_copy(a, str_of(s->is.text)).p, from, err);
    for (int64_t i = 0; i < (int64_t)s->n; i++)
        if (!setting_take(o, str_copy(a, str_of(s->is.list[i])).p, from, err)) return false;
    return true;
}

static bool opts_take(const Command *c, const Slot *in, bool *given, Arena *a, const char *path,
                      Str bytes, Err *err) {
    for (int64_t i = 0; i < c->n_opts; i++) {
        if (!in[i].is.text || given[i]) continue;
        const int64_t line = line_of(bytes, str_of(c->opts[i].name), false);
        const char *from = line ? str_fmt(a, "%s, line %lld", path, (long long)line).p : path;
        if (!slot_take(&c->opts[i], &in[i], a, from, err)) return false;
        given[i] = true;
    }
    return true;
}

static bool entries_take(const SettingList *l, const Slot *in, Arena *a, const char *path,
                         Err *err) {
    for (int64_t k = 0; k < (int64_t)in->n; k++) {
        const Slot *entry = in->is.entries + k * l->n_opts;
        const char *from = str_fmt(a, "%s, entry %lld of %s", path, (long long)k + 1, l->name).p;
        l->begin(l->arg);
        for (int64_t i = 0; i < l->n_opts; i++)
            if (entry[i].is.text && !slot_take(&l->opts[i], &entry[i], a, from, err)) return false;
        Err why = {0};
        if (!l->take(l->arg, &why)) return err_set(err, ERR_USAGE, "%s: %s", from, why.msg);
    }
    return true;
}

bool settings_from_file(const Command *c, bool *given, const char *const *not_there,
                        const SettingList *list, Arena *a, const char *path, Err *err) {
    static const char *const none[] = {NULL};
    cyaml_schema_field_t field[OPTS + 2] = {0}, inner[OPTS + 1] = {0}, *end;
    Str bytes;
    Buf log = {.a = a};
    Slot *in = NULL;
    CHECK(c->n_opts <= OPTS && (!list || list->n_opts <= OPTS));
    const cyaml_schema_value_t root = {.type = CYAML_MAPPING,
                                       .flags = CYAML_FLAG_POINTER,
                                       .data_size = (uint32_t)((OPTS + 1) * sizeof(Slot)),
                                       .mapping = {.fields = field}},
                               entry = {.type = CYAML_MAPPING,
                                        .data_size = (uint32_t)((list ? list->n_opts : 0)
                                                                * (int64_t)sizeof(Slot)),
                                        .mapping = {.fields = inner}};
    end = fields_of(field, c->opts, c->n_opts, not_there);
    if (list) {
        fields_of(inner, list->opts, list->n_opts, none);
        *end = list_field(list, c->n_opts, &entry);
    }
    const cyaml_config_t config = {.log_fn = settings_note,
                                   .log_ctx = &log,
                                   .mem_fn = cyaml_mem,
                                   .log_level = CYAML_LOG_ERROR,
                                   .flags = CYAML_CFG_NO_ALIAS};
    if (!os_read(a, &bytes, path, FILE_BYTES, err)) return false;
    const cyaml_err_t code = cyaml_load_data((const uint8_t *)bytes.p, (size_t)bytes.n, &config,
                                             &root, (cyaml_data_t **)&in, NULL);
    if (code != CYAML_OK) return file_refused(field, inner, path, bytes, code, &log, err);
    const bool fine = !in
                      || (opts_take(c, in, given, a, path, bytes, err)
                          && (!list || entries_take(list, &in[c->n_opts], a, path, err)));
    cyaml_free(&config, &root, (cyaml_data_t *)in, 0);
    return fine;
}

void setting_show(const Opt *o, Buf *out) {
    switch (o->kind) {
    case OPT_FLAG: buf_add(out, str_of(*(bool *)o->to ? "true" : "false")); break;
    case OPT_I64: buf_fmt(out, "%lld", (long long)*(int64_t *)o->to); break;
    case OPT_F64: buf_fmt(out, "%.10g", *(double *)o->to); break;
    case OPT_STR: buf_add(out, str_of(*(const char **)o->to ? *(const char **)o->to : "")); break;
    case OPT_LIST:;
        const OptList *list = o->to;
        for (int64_t i = 0; i < list->n; i++) buf_fmt(out, "%s%s", i ? ", " : "", list->v[i]);
        break;
    }
}
