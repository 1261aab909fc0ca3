/* texts.c -- data.train: a text, or a list of texts with weights, through libcyaml; and texts in
 * quotes. */
#include "train/yaml.h"

#include <stdio.h>

/* Characters that YAML 1.1 does not keep inside double quotes: control characters, other line
 * breaks, the byte order mark. */
static bool needs_escape(int32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff
           || c == 0xfffe || c == 0xffff;
}

static int32_t character(Str s, int n) {
    static const uint8_t lead[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    int32_t c = (uint8_t)s.p[0] & lead[n];
    for (int i = 1; i < n; i++) c = c << 6 | ((uint8_t)s.p[i] & 0x3f);
    return c;
}

bool quoted_put(Buf *out, Str s) {
    buf_add(out, STR("\""));
    for (int n; s.n; s = (Str){s.p + n, s.n - n}) {
        n = utf8_length(s);
        if (n == 0) return false;
        const int32_t c = character(s, n);
        if (needs_escape(c))
            buf_fmt(out, "\\u%04x", (unsigned)c);
        else if (c == '"' || c == '\\')
            buf_fmt(out, "\\%c", (char)c);
        else
            buf_add(out, (Str){s.p, n});
    }
    buf_add(out, STR("\""));
    return true;
}

/* By itself, as a text or as a list: the library has no schema for a value that may be either. */
typedef struct OneText {
    struct {
        char *train;
    } data;
} OneText;
typedef struct OneSection {
    char *train;
} OneSection;

static const cyaml_schema_field_t entry_fields[] = {
    CYAML_FIELD_STRING_PTR("source", CYAML_FLAG_POINTER, Entry, source, 0, CYAML_UNLIMITED),
    CYAML_FIELD_STRING_PTR("weight", CYAML_FLAG_POINTER, Entry, weight, 0, CYAML_UNLIMITED),
    CYAML_FIELD_STRING_PTR("from", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, Entry, from, 0,
                           CYAML_UNLIMITED),
    CYAML_FIELD_STRING_PTR("to", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, Entry, to, 0,
                           CYAML_UNLIMITED),
    CYAML_FIELD_END};
static const cyaml_schema_value_t entry_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, Entry, entry_fields)};
static const cyaml_schema_field_t one_fields[] = {
    CYAML_FIELD_STRING_PTR("train", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, OneSection, train, 0,
                           CYAML_UNLIMITED),
    CYAML_FIELD_END};
static const cyaml_schema_field_t one_top[] = {
    CYAML_FIELD_MAPPING("data", CYAML_FLAG_OPTIONAL, OneText, data, one_fields), CYAML_FIELD_END};
static const cyaml_schema_field_t list_fields[] = {CYAML_FIELD_SEQUENCE("train", CYAML_FLAG_POINTER,
                                                                        ManySection, train,
                                                                        &entry_value, 1, MIX_MOST),
                                                   CYAML_FIELD_END};
static const cyaml_schema_field_t list_top[] = {
    CYAML_FIELD_MAPPING("data", CYAML_FLAG_DEFAULT, ManyTexts, data, list_fields), CYAML_FIELD_END};
static const cyaml_schema_value_t list_alone = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, ManyTexts, list_top)};
static const cyaml_schema_value_t one_text = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, OneText, one_top)};
const cyaml_schema_field_t train_field =
    CYAML_FIELD_SEQUENCE("train", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, ManySection, train,
                         &entry_value, 1, MIX_MOST);

/* The library's error lines, one after the other, each without its "Load: ". */
static void note(cyaml_log_t level, void *ctx, const char *fmt, va_list args) {
    char line[512];
    vsnprintf(line, sizeof line, fmt, args);
    Str s = str_of(line);
    if (level < CYAML_LOG_ERROR) return;
    if (str_starts(s, STR("Load: "))) s = (Str){s.p + 6, s.n - 6};
    buf_add(ctx, s);
}

Str first_line(Str s) {
    const char *nl = s.n ? memchr(s.p, '\n', (size_t)s.n) : NULL;
    return nl ? (Str){s.p, nl - s.p} : s;
}

cyaml_config_t config_of(Buf *log, unsigned flags) {
    return (cyaml_config_t){.log_fn = note,
                            .log_ctx = log,
                            .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_ERROR,
                            .flags = CYAML_CFG_NO_ALIAS | flags};
}

/* data.train's list in `text`, a document with that key. */
static bool list_load(TextPart part[MIX_MOST], int64_t *n, Arena *a, Str text,
                      const cyaml_schema_value_t *schema, const char *from, Err *err) {
    Buf log = {.a = a};
    const cyaml_config_t config = config_of(&log, 0);
    ManyTexts *in = NULL;
    const cyaml_err_t code = cyaml_load_data((const uint8_t *)text.p, (size_t)text.n, &config,
                                             schema, (cyaml_data_t **)&in, NULL);
    if (code != CYAML_OK)
        return err_set(err, ERR_USAGE,
                       "%s: data.train is a text, or a list of {source: TEXT, weight: NUMBER}, %d "
                       "at most, with from: SHARE and to: SHARE of the steps where they are "
                       "wanted: %s (%.*s)",
                       from, MIX_MOST, cyaml_strerror(code), STRF(first_line(buf_str(&log))));
    *n = in ? in->data.train_count : 0;
    for (int64_t i = 0; i < *n; i++) {
        const Entry *e = &in->data.train[i];
        part[i] = (TextPart){str_copy(a, str_of(e->source)), str_copy(a, str_of(e->weight)),
                             str_copy(a, str_of(e->from ? e->from : "")),
                             str_copy(a, str_of(e->to ? e->to : ""))};
    }
    cyaml_free(&config, schema, in, 0);
    return true;
}

bool parts_read(TextPart part[MIX_MOST], int64_t *n, Arena *a, Str list, const char *from,
                Err *err) {
    return list_load(part, n, a, str_fmt(a, "data: {train: %.*s}", STRF(list)), &list_alone, from,
                     err);
}

/* data.train of a file that is sound otherwise; a list as texts_read (keys.c) takes it. */
bool texts_load(Str *value, Arena *a, Str bytes, const cyaml_schema_value_t *schema,
                const char *path, Err *err) {
    Buf log = {.a = a}, list = {.a = a};
    const cyaml_config_t config = config_of(&log, CYAML_CFG_IGNORE_UNKNOWN_KEYS);
    OneText *in = NULL;
    TextPart part[MIX_MOST];
    int64_t n;
    if (cyaml_load_data((const uint8_t *)bytes.p, (size_t)bytes.n, &config, &one_text,
                        (cyaml_data_t **)&in, NULL)
        == CYAML_OK) {
        *value = in && in->data.train ? str_copy(a, str_of(in->data.train)) : (Str){0};
        cyaml_free(&config, &one_text, in, 0);
        return true;
    }
    if (!list_load(part, &n, a, bytes, schema, path, err)) return false;
    for (int64_t i = 0; i < n; i++) {
        const Str given[] = {part[i].source, part[i].weight, part[i].from, part[i].to};
        static const char *const name[] = {"source", "weight", "from", "to"};
        for (int64_t k = 0; k < COUNT(given); k++) {
            if (k > 1 && !given[k].n) continue; /* not given */
            buf_fmt(&list, "%s%s: ", k ? ", " : i ? "}, {" : "[{", name[k]);
            if (!quoted_put(&list, given[k]))
                return err_set(err, ERR_USAGE, "%s: data.train: a %s is not in UTF-8", path,
                               name[k]);
        }
    }
    buf_fmt(&list, "}");
    buf_fmt(&list, "]");
    *value = buf_str(&list);
    return true;
}
