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
typedef struct Entry {
    char *source, *weight;
} Entry;
typedef struct OneText {
    struct {
        char *train;
    } data;
} OneText;
typedef struct ManyTexts {
    struct {
        Entry *train;
        uint32_t train_count;
    } data;
} ManyTexts;
typedef struct OneSection {
    char *train;
} OneSection;
typedef struct ManySection {
    Entry *train;
    uint32_t train_count;
} ManySection;

static const cyaml_schema_field_t entry_fields[] = {
    CYAML_FIELD_STRING_PTR("source", CYAML_FLAG_POINTER, Entry, source, 0, CYAML_UNLIMITED),
    CYAML_FIELD_STRING_PTR("weight", CYAML_FLAG_POINTER, Entry, weight, 0, CYAML_UNLIMITED),
    CYAML_FIELD_END};
static const cyaml_schema_value_t entry_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, Entry, entry_fields)};
static const cyaml_schema_field_t one_fields[] = {
    CYAML_FIELD_STRING_PTR("train", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, OneSection, train, 0,
                           CYAML_UNLIMITED),
    CYAML_FIELD_END};
static const cyaml_schema_field_t many_fields[] = {
    CYAML_FIELD_SEQUENCE("train", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, ManySection, train,
                         &entry_value, 1, MIX_MOST),
    CYAML_FIELD_END};
static const cyaml_schema_field_t one_top[] = {
    CYAML_FIELD_MAPPING("data", CYAML_FLAG_OPTIONAL, OneText, data, one_fields), CYAML_FIELD_END};
static const cyaml_schema_field_t many_top[] = {
    CYAML_FIELD_MAPPING("data", CYAML_FLAG_OPTIONAL, ManyTexts, data, many_fields),
    CYAML_FIELD_END};
static const cyaml_schema_value_t one_text = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, OneText, one_top)};
static const cyaml_schema_value_t many_texts = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, ManyTexts, many_top)};

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
static bool list_load(TextPart part[MIX_MOST], int64_t *n, Arena *a, Str text, const char *from,
                      Err *err) {
    Buf log = {.a = a};
    const cyaml_config_t config = config_of(&log, CYAML_CFG_IGNORE_UNKNOWN_KEYS);
    ManyTexts *in = NULL;
    const cyaml_err_t code = cyaml_load_data((const uint8_t *)text.p, (size_t)text.n, &config,
                                             &many_texts, (cyaml_data_t **)&in, NULL);
    if (code != CYAML_OK)
        return err_set(err, ERR_USAGE,
                       "%s: data.train is a text, or a list of {source: TEXT, weight: NUMBER}, %d "
                       "at most: %s (%.*s)",
                       from, MIX_MOST, cyaml_strerror(code), STRF(first_line(buf_str(&log))));
    *n = in ? in->data.train_count : 0;
    for (int64_t i = 0; i < *n; i++)
        part[i] = (TextPart){str_copy(a, str_of(in->data.train[i].source)),
                             str_copy(a, str_of(in->data.train[i].weight))};
    cyaml_free(&config, &many_texts, in, 0);
    return true;
}

bool parts_read(TextPart part[MIX_MOST], int64_t *n, Arena *a, Str list, const char *from,
                Err *err) {
    return list_load(part, n, a, str_fmt(a, "data: {train: %.*s}", STRF(list)), from, err);
}

/* data.train of a file that is sound otherwise; a list as texts_read (keys.c) takes it. */
bool texts_load(Str *value, Arena *a, Str bytes, const char *path, Err *err) {
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
    if (!list_load(part, &n, a, bytes, path, err)) return false;
    for (int64_t i = 0; i < n; i++) {
        buf_fmt(&list, "%s{source: ", i ? ", " : "[");
        if (!quoted_put(&list, part[i].source))
            return err_set(err, ERR_USAGE, "%s: data.train: a source is not in UTF-8", path);
        buf_fmt(&list, ", weight: ");
        if (!quoted_put(&list, part[i].weight))
            return err_set(err, ERR_USAGE, "%s: data.train: a weight is no number", path);
        buf_fmt(&list, "}");
    }
    buf_fmt(&list, "]");
    *value = buf_str(&list);
    return true;
}
