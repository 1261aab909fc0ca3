/* json.c -- a tokenizer from the bytes of a tokenizer.json.
 *
 * The two large tables, model.vocab and model.merges, are read in place (cursor.h); jansson parses
 * the rest, with these two cut out. Everything is counted and checked against the size of the file
 * before memory is taken and filled. What changes ids and is not implemented is refused by the name
 * of its field. */
#include "text/cursor.h"
#include "text/tokenizer.h"
#include <jansson.h>

#define VALUES_MAX (1 << 17) /* outside the two tables: at most some 16 MB in jansson */
#define IDS_FLOOR  65536     /* a file of any size may use ids below this */

typedef struct Load {
    Tokenizer *t;
    Arena *a;
    Str json;
    json_t *root, *model;
    Cursor vocab, merges; /* at the bracket that opens the table; p NULL: there is none */
    int64_t n_vocab, n_merges, n_added; /* entries */
    int64_t n_ids;                      /* 1 + the largest id */
    int64_t vocab_bytes, added_bytes;   /* spellings together */
    int64_t sought_bytes;               /* what added tokens are found by, together */
    bool byte_fallback;                 /* <0xNN> are bytes */
    int64_t longest;                    /* spelling */
    Err *err;
} Load;

static bool fail(Load *l, ErrCode code, const char *where, const char *what) {
    return err_set(l->err, code, "%s: %s: %s", l->t->name, where, what);
}

static bool fail_at(Load *l, const Cursor *s, const char *where, const char *what) {
    return err_set(l->err, ERR_FORMAT, "%s: %s, at byte %lld: %s", l->t->name, where,
                   (long long)cursor_at(s), what);
}

/* ---- the two tables -------------------------------------------------------------------------- */

/* Steps to the next element of an object or array: 1; 0: it is closed; -1: neither. */
static int list_next(Cursor *s, char close, bool *first) {
    bool was_first = *first;
    *first = false;
    if (cursor_char(s, close)) return 0;
    return was_first || cursor_char(s, ',') ? 1 : -1;
}

/* The next entry of model.vocab, "key": id. */
static int vocab_next(Load *l, Cursor *s, bool *first, Str *key, int64_t *id) {
    int rc = list_next(s, '}', first);
    if (rc == 0) return 0;
    if (rc < 0 || !cursor_string(s, key) || !cursor_char(s, ':')) {
        fail_at(l, s, "model.vocab", "expected \"token\": id");
        return -1;
    }
    if (!cursor_int(s, id)) {
        fail_at(l, s, "model.vocab", "the id is not a whole number");
        return -1;
    }
    return 1;
}

/* The next entry of model.merges: "left right" (n = 1) or ["left", "right"] (n = 2). */
static int merge_next(Load *l, Cursor *s, bool *first, Str part[2], int *n) {
    int rc = list_next(s, ']', first);
    if (rc == 0) return 0;
    *n = rc > 0 && cursor_char(s, '[') ? 2 : 1;
    bool ok = rc > 0 && cursor_string(s, &part[0]);
    if (*n == 2)
        ok = ok && cursor_char(s, ',') && cursor_string(s, &part[1]) && cursor_char(s, ']');
    if (ok) return 1;
    fail_at(l, s, "model.merges", "expected \"left right\" or [\"left\", \"right\"]");
    return -1;
}

static bool id_count(Load *l, int64_t id, const char *where) {
    int64_t limit = MAX(IDS_FLOOR, l->json.n / 4);
    if (id < 0 || id >= limit)
        return err_set(l->err, id < 0 ? ERR_FORMAT : ERR_LIMIT,
                       "%s: %s: id %lld, but a file of this size can have 0 to %lld", l->t->name,
                       where, (long long)id, (long long)(limit - 1));
    l->n_ids = MAX(l->n_ids, id + 1);
    return true;
}

static bool vocab_count(Load *l, Cursor *s) {
    Str key;
    int64_t id;
    bool first = true;
    int rc = cursor_char(s, '{') ? 1 : -1;
    if (rc < 0) return fail_at(l, s, "model.vocab", "not an object");
    while ((rc = vocab_next(l, s, &first, &key, &id)) == 1) {
        if (!id_count(l, id, "model.vocab")) return false;
        l->n_vocab++;
        l->vocab_bytes += key.n;
        l->longest = MAX(l->longest, key.n);
    }
    return rc == 0;
}

static bool merges_count(Load *l, Cursor *s) {
    Str part[2];
    int n, rc;
    bool first = true;
    if (!cursor_char(s, '[')) return fail_at(l, s, "model.merges", "not an array");
    while ((rc = merge_next(l, s, &first, part, &n)) == 1) {
        l->n_merges++;
        l->longest = MAX(l->longest, part[0].n + (n == 2 ? part[1].n : 0));
    }
    return rc == 0;
}

static bool object_walk(Load *l, Cursor *s, bool in_model, int64_t *values);

/* The value of a key; the two tables are counted and remembered. */
static bool value_walk(Load *l, Cursor *s, Str key, bool in_model, int64_t *values) {
    if (!in_model && str_eq(key, STR("model"))) return object_walk(l, s, true, values);
    bool vocab = in_model && str_eq(key, STR("vocab"));
    bool merges = in_model && str_eq(key, STR("merges"));
    if (!vocab && !merges) return cursor_skip(s, values);
    Cursor *table = vocab ? &l->vocab : &l->merges;
    if (table->p) return fail(l, ERR_FORMAT, vocab ? "model.vocab" : "model.merges", "there twice");
    *table = *s;
    bool ok = vocab ? vocab_count(l, s) : merges_count(l, s);
    table->end = s->p;
    return ok;
}

static bool object_walk(Load *l, Cursor *s, bool in_model, int64_t *values) {
    Str key;
    bool first = true;
    int rc = cursor_char(s, '{') ? 1 : -1;
    while (rc == 1 && (rc = list_next(s, '}', &first)) == 1)
        if (!cursor_string(s, &key) || !cursor_char(s, ':')
            || !value_walk(l, s, key, in_model, values))
            rc = -1;
    return rc == 0 || fail_at(l, s, in_model ? "model" : "the file", "not a valid JSON object");
}

static bool tables_find(Load *l) {
    int64_t values = 0;
    Cursor s = {l->json.p, l->json.p, l->json.p + l->json.n};
    if (l->json.n >= BYTES_MAX) return fail(l, ERR_LIMIT, "the file", "larger than 256 MiB");
    if (!object_walk(l, &s, false, &values)) return false;
    if (l->vocab.p == NULL || l->n_vocab == 0)
        return fail(l, ERR_FORMAT, "model.vocab", "missing or empty");
    if (l->merges.p == NULL) return fail(l, ERR_FORMAT, "model.merges", "missing");
    if (values > VALUES_MAX)
        return fail(l, ERR_LIMIT, "the file", "too many values beside vocab and merges");
    /* At most three slots for each entry. */
    int64_t table = 3 * MAX(8 * l->n_vocab, (int64_t)sizeof(Merge) * l->n_merges);
    return table <= 2 * l->json.n + (1 << 20)
           || fail(l, ERR_LIMIT, "model.merges", "too many for a file of this size");
}

static bool vocab_fill(Load *l, char *form) {
    Cursor s = l->vocab;
    Str key;
    int64_t id;
    bool first = true, literal, plain = l->t->unit == UNIT_CHARS;
    cursor_char(&s, '{');
    while (vocab_next(l, &s, &first, &key, &id) == 1) {
        int byte = plain && l->byte_fallback ? byte_spelled(key) : -1;
        int64_t n = form_bytes(form, &key, true, false, plain, &literal);
        if (byte >= 0)
            form[0] = (char)byte, n = 1, literal = true;
        else if (plain && n >= 0)
            literal = vocab_find(&l->t->vocab, (Str){form, n}, false) >= 0;
        const char *wrong =
            n < 0 ? "the token is not a JSON string in UTF-8"
                  : vocab_put(&l->t->vocab, id, (Str){form, n}, literal ? TOKEN_LITERAL : 0);
        if (wrong) return fail_at(l, &s, "model.vocab", wrong);
    }
    return true;
}

static bool merges_fill(Load *l, char *form) {
    Cursor s = l->merges;
    Str part[2] = {{0}};
    bool first = true;
    int n;
    cursor_char(&s, '[');
    for (int64_t rank = 0; merge_next(l, &s, &first, part, &n) == 1; rank++) {
        const char *wrong = merges_put(l->t, part, n, true, form, rank);
        if (wrong)
            return err_set(l->err, ERR_FORMAT, "%s: model.merges[%lld]: %s", l->t->name,
                           (long long)rank, wrong);
    }
    return true;
}

/* ---- the rest -------------------------------------------------------------------------------- */

/* Parses the file with {} and [] in place of the two tables. */
static bool rest_parse(Load *l) {
    bool vocab_first = l->vocab.p < l->merges.p;
    const Cursor *one = vocab_first ? &l->vocab : &l->merges,
                 *two = vocab_first ? &l->merges : &l->vocab;
    const Str parts[] = {{l->json.p, one->p - l->json.p},
                         vocab_first ? STR("{}") : STR("[]"),
                         {one->end, two->p - one->end},
                         vocab_first ? STR("[]") : STR("{}"),
                         {two->end, l->json.p + l->json.n - two->end}};
    Mark mark = arena_mark(l->a);
    char *rest = arena_try(l->a, l->json.n);
    int64_t n = 0;
    if (rest == NULL) return fail(l, ERR_LIMIT, "the file", "no memory left to read it");
    for (int i = 0; i < COUNT(parts); n += parts[i++].n)
        memcpy(rest + n, parts[i].p, (size_t)parts[i].n);
    json_error_t e;
    l->root = json_loadb(rest, (size_t)n, JSON_REJECT_DUPLICATES, &e);
    arena_pop(l->a, mark);
    if (l->root == NULL)
        return err_set(l->err, ERR_FORMAT, "%s: not valid JSON: %s", l->t->name, e.text);
    l->model = json_object_get(l->root, "model");
    return true;
}

/* Every key of an object must be one of `known` (a list with a comma in front and behind). */
static bool keys_known(Load *l, json_t *o, const char *where, const char *known) {
    const char *key;
    json_t *value;
    if (!json_is_object(o)) return fail(l, ERR_FORMAT, where, "not an object");
    json_object_foreach(o, key, value) {
        char wanted[64];
        int n = snprintf(wanted, sizeof wanted, ",%s,", key);
        if (n < (int)sizeof wanted && strstr(known, wanted)) continue;
        return err_set(l->err, ERR_UNSUPPORTED, "%s: %s: key \"%.60s\" is not known", l->t->name,
                       where, key);
    }
    return true;
}

/* The key is absent, null, or has the value that means "off": false, 0 or an empty string. */
static bool key_off(Load *l, json_t *o, const char *where, const char *key) {
    const json_t *v = json_object_get(o, key);
    bool off = v == NULL || json_is_null(v) || json_is_false(v)
               || (json_is_number(v) && json_number_value(v) == 0)
               || (json_is_string(v) && json_string_length(v) == 0);
    return off
           || err_set(l->err, ERR_UNSUPPORTED, "%s: %s.%s is set, which is not supported",
                      l->t->name, where, key);
}

enum { REQUIRED = -1 };

static bool get_bool(Load *l, json_t *o, const char *where, const char *key, int missing,
                     bool *out) {
    const json_t *v = json_object_get(o, key);
    *out = v ? json_is_true(v) : missing == true;
    if ((v && json_is_boolean(v)) || (!v && missing != REQUIRED)) return true;
    return err_set(l->err, ERR_FORMAT, "%s: %s.%s: need true or false", l->t->name, where, key);
}

static bool get_type(Load *l, json_t *o, const char *where, const char **type) {
    *type = json_string_value(json_object_get(o, "type"));
    return *type != NULL || fail(l, ERR_FORMAT, where, "has no \"type\"");
}

static bool type_refused(Load *l, const char *where, const char *type) {
    return err_set(l->err, ERR_UNSUPPORTED, "%s: %s: type \"%.60s\" is not supported", l->t->name,
                   where, type);
}

/* ---- added tokens ---------------------------------------------------------------------------- */

static Str string_of(const json_t *v) {
    return (Str){json_string_value(v), json_is_string(v) ? (int64_t)json_string_length(v) : 0};
}

/* What an added token is found by: one that is marked "normalized" is looked for in normalised
 * text (without the prefix that a text gets, so that a chat template may write it anywhere). */
static bool added_sought(Load *l, json_t *o, Str *content) {
    *content = string_of(json_object_get(o, "content"));
    return !json_is_true(json_object_get(o, "normalized"))
           || normalise(content, l->t, *content, false, l->a, l->err);
}

static bool added_measure(Load *l, json_t *o, const char *where) {
    Mark mark = arena_mark(l->a);
    Str sought;
    if (!added_sought(l, o, &sought)) return false;
    arena_pop(l->a, mark);
    l->sought_bytes += sought.n;
    return sought.n <= ADDED_LENGTH_MAX
           || fail(l, ERR_LIMIT, where, "content is longer than 256 bytes when it is normalised");
}

static bool added_check(Load *l, json_t *o, const char *where) {
    bool flag;
    const json_t *id = json_object_get(o, "id");
    Str content = string_of(json_object_get(o, "content"));
    if (!keys_known(l, o, where, ",id,content,single_word,lstrip,rstrip,normalized,special,"))
        return false;
    if (!json_is_integer(id)) return fail(l, ERR_FORMAT, where, "id is not a whole number");
    if (content.n < 1 || content.n > ADDED_LENGTH_MAX)
        return fail(l, ERR_LIMIT, where, "content must be a string of 1 to 256 bytes");
    l->added_bytes += content.n;
    return get_bool(l, o, where, "single_word", false, &flag)
           && get_bool(l, o, where, "lstrip", false, &flag)
           && get_bool(l, o, where, "rstrip", false, &flag)
           && get_bool(l, o, where, "normalized", REQUIRED, &flag)
           && get_bool(l, o, where, "special", REQUIRED, &flag)
           && id_count(l, json_integer_value(id), where) && added_measure(l, o, where);
}

static const char *added_name(char where[64], size_t i) {
    snprintf(where, 64, "added_tokens[%zu]", i);
    return where;
}

static bool added_count(Load *l) {
    json_t *list = json_object_get(l->root, "added_tokens"), *o;
    size_t i;
    char where[64];
    if (list && !json_is_null(list) && !json_is_array(list))
        return fail(l, ERR_FORMAT, "added_tokens", "not an array");
    l->n_added = (int64_t)json_array_size(list);
    json_array_foreach(list, i, o) if (!added_check(l, o, added_name(where, i))) return false;
    return true;
}

/* An added token may be in the vocabulary already, and then must have its id there. */
static bool added_put(Load *l, json_t *o, const char *where) {
    Vocab *v = &l->t->vocab;
    Str content = string_of(json_object_get(o, "content")), spelling = content, sought;
    int64_t id = json_integer_value(json_object_get(o, "id"));
    char form[ADDED_LENGTH_MAX];
    bool literal;
    int64_t n = form_bytes(form, &spelling, false, false, l->t->unit == UNIT_CHARS, &literal);
    int32_t there = vocab_find(v, (Str){form, n}, literal);
    unsigned flags = (json_is_true(json_object_get(o, "lstrip")) ? TOKEN_LSTRIP : 0)
                     | (json_is_true(json_object_get(o, "rstrip")) ? TOKEN_RSTRIP : 0)
                     | (json_is_true(json_object_get(o, "single_word")) ? TOKEN_SINGLE_WORD : 0);
    const char *wrong = there == id  ? NULL
                        : there >= 0 ? "this token has another id in model.vocab"
                                     : vocab_put(v, id, content, TOKEN_LITERAL);
    if (wrong) return fail(l, ERR_FORMAT, where, wrong);
    if (json_is_true(json_object_get(o, "special"))) flags |= TOKEN_SPECIAL;
    v->tokens[id].flags |= flags & 127;
    bool normal = json_is_true(json_object_get(o, "normalized"));
    if (!added_sought(l, o, &sought)) return false;
    if (sought.n > 0) trie_put(normal ? &l->t->normal : &l->t->raw, sought, (int32_t)id);
    return true;
}

/* ---- normalizer, pre_tokenizer, decoder ------------------------------------------------------ */

/* U+2581 is a space in the vocabulary of UNIT_CHARS, so it is one in what a step writes. */
static Str spaced(Load *l, Str s) {
    char *to = arena_try(l->a, s.n + 1);
    bool literal;
    int64_t n = to ? form_bytes(to, &s, false, false, true, &literal) : -1;
    return n < 0 ? s : (Str){to, n};
}

static bool replace_read(Load *l, json_t *o, const char *where) {
    json_t *pattern = json_object_get(o, "pattern");
    Norm n = {.kind = NORM_REPLACE, .from = string_of(json_object_get(pattern, "String"))};
    const json_t *content = json_object_get(o, "content");
    if (n.from.n == 0 || json_object_size(pattern) != 1 || !json_is_string(content))
        return fail(l, ERR_UNSUPPORTED, where,
                    "only {\"String\": ...} can be replaced by a string");
    n.from = str_copy(l->a, n.from), n.to = str_copy(l->a, string_of(content));
    if (l->t->unit == UNIT_CHARS) n.to = spaced(l, n.to);
    bool same = str_eq(n.from, n.to); /* a space by U+2581 */
    return keys_known(l, o, where, ",type,pattern,content,")
           && (same || norm_add(l->t, &n, l->err));
}

static bool normalizer_read(Load *l, json_t *o, const char *where, bool inner) {
    const char *type;
    size_t i;
    json_t *list, *one;
    Norm n = {.kind = NORM_NFC};
    if (o == NULL || json_is_null(o)) return true;
    if (!get_type(l, o, where, &type)) return false;
    if (!strcmp(type, "NFC")) return norm_add(l->t, &n, l->err);
    n.kind = NORM_NFKC;
    if (!strcmp(type, "NFKC")) return norm_add(l->t, &n, l->err);
    if (!strcmp(type, "Replace")) return replace_read(l, o, where);
    if (!strcmp(type, "Prepend")) {
        n = (Norm){.kind = NORM_PREPEND,
                   .to = str_copy(l->a, string_of(json_object_get(o, "prepend")))};
        if (l->t->unit == UNIT_CHARS) n.to = spaced(l, n.to);
        return keys_known(l, o, where, ",type,prepend,") && norm_add(l->t, &n, l->err);
    }
    if (!strcmp(type, "Strip")) {
        n.kind = NORM_STRIP;
        return keys_known(l, o, where, ",type,strip_left,strip_right,")
               && get_bool(l, o, where, "strip_left", true, &n.left)
               && get_bool(l, o, where, "strip_right", true, &n.right)
               && norm_add(l->t, &n, l->err);
    }
    if (inner || strcmp(type, "Sequence") != 0) return type_refused(l, where, type);
    list = json_object_get(o, "normalizers");
    if (!json_is_array(list))
        return fail(l, ERR_FORMAT, where, "a Sequence without \"normalizers\"");
    json_array_foreach(
        list, i, one) if (!normalizer_read(l, one, str_fmt(l->a, "%s.normalizers[%zu]", where, i).p,
                                           true)) return false;
    return true;
}

static bool split_read(Load *l, json_t *o, const char *where) {
    static const char *const behaviors[CUT_N] = {[CUT_ISOLATED] = "Isolated",
                                                 [CUT_REMOVED] = "Removed",
                                                 [CUT_CONTIGUOUS] = "Contiguous",
                                                 [CUT_MERGED_PREVIOUS] = "MergedWithPrevious",
                                                 [CUT_MERGED_NEXT] = "MergedWithNext"};
    Stage s = {.where = where, .behavior = CUT_N};
    json_t *pattern = json_object_get(o, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex"),
                 *plain = json_object_get(pattern, "String");
    const char *behavior = json_string_value(json_object_get(o, "behavior"));
    for (int b = 0; behavior && b < CUT_N; b++)
        if (!strcmp(behavior, behaviors[b])) s.behavior = (CutBehavior)b;
    if (s.behavior == CUT_N)
        return fail(l, ERR_UNSUPPORTED, where, "behavior is missing or not a known one");
    if (json_is_string(regex) == json_is_string(plain) || json_object_size(pattern) != 1)
        return fail(l, ERR_FORMAT, where, "pattern must be {\"Regex\": ...} or {\"String\": ...}");
    s.literal = plain != NULL;
    return keys_known(l, o, where, ",type,pattern,behavior,invert,")
           && get_bool(l, o, where, "invert", false, &s.invert)
           && stage_add(l->t, l->a, string_of(plain ? plain : regex), &s, l->err);
}

static bool digits_read(Load *l, json_t *o, const char *where) {
    bool single;
    Stage s = {.where = where};
    return keys_known(l, o, where, ",type,individual_digits,")
           && get_bool(l, o, where, "individual_digits", REQUIRED, &single)
           && stage_add(l->t, l->a, single ? STR("\\p{N}") : STR("\\p{N}+"), &s, l->err);
}

static bool byte_level_read(Load *l, json_t *o, const char *where) {
    bool use_regex;
    Stage s = {.where = where};
    return keys_known(l, o, where, ",type,add_prefix_space,trim_offsets,use_regex,")
           && get_bool(l, o, where, "add_prefix_space", REQUIRED, &s.prefix_space)
           && get_bool(l, o, where, "use_regex", true, &use_regex)
           && stage_add(l->t, l->a, use_regex ? STR(PATTERN_GPT2) : (Str){0}, &s, l->err);
}

/* U+2581 for each space, and one in front; pieces begin with them. */
static bool metaspace_read(Load *l, json_t *o, const char *where) {
    const char *scheme = json_string_value(json_object_get(o, "prepend_scheme"));
    bool prefix, split;
    if (!keys_known(l, o, where, ",type,replacement,add_prefix_space,prepend_scheme,split,str_rep,")
        || !get_bool(l, o, where, "add_prefix_space", true, &prefix)
        || !get_bool(l, o, where, "split", true, &split))
        return false;
    if (!str_eq(string_of(json_object_get(o, "replacement")), STR("\xe2\x96\x81")))
        return fail(l, ERR_UNSUPPORTED, where, "replacement must be U+2581");
    if (l->t->unit != UNIT_CHARS) return fail(l, ERR_UNSUPPORTED, where, "beside ByteLevel");
    if (scheme) prefix = strcmp(scheme, "never") != 0;
    if (scheme && strcmp(scheme, "never") && strcmp(scheme, "always") && strcmp(scheme, "first"))
        return fail(l, ERR_UNSUPPORTED, where, "prepend_scheme is not always, first or never");
    l->t->strips_first |= prefix;
    Stage s = {
        .where = where, .prefix_space = prefix, .literal = true, .behavior = CUT_MERGED_NEXT};
    s.prefix_first = scheme && !strcmp(scheme, "first");
    return stage_add(l->t, l->a, split ? STR(" ") : (Str){0}, &s, l->err);
}

/* *bytes: ByteLevel was met, after which nothing may come. inner: within a Sequence. */
static bool pretokenizer_read(Load *l, json_t *o, const char *where, bool inner, bool *bytes) {
    const char *type;
    size_t i;
    json_t *list, *one;
    if (o == NULL || json_is_null(o)) return true;
    if (!get_type(l, o, where, &type)) return false;
    if (*bytes)
        return fail(l, ERR_UNSUPPORTED, where, "stands after ByteLevel, which must be the last");
    if (!strcmp(type, "Split")) return split_read(l, o, where);
    if (!strcmp(type, "Digits")) return digits_read(l, o, where);
    if (!strcmp(type, "Metaspace")) return metaspace_read(l, o, where);
    if (!strcmp(type, "ByteLevel")) return (*bytes = true) && byte_level_read(l, o, where);
    if (inner || strcmp(type, "Sequence") != 0) return type_refused(l, where, type);
    list = json_object_get(o, "pretokenizers");
    if (!json_is_array(list))
        return fail(l, ERR_FORMAT, where, "a Sequence without \"pretokenizers\"");
    json_array_foreach(
        list, i,
        one) if (!pretokenizer_read(l, one, str_fmt(l->a, "%s.pretokenizers[%zu]", where, i).p,
                                    true, bytes)) return false;
    return true;
}

/* Decoders only turn round what the rest has done, so the kind of vocabulary says what they are;
 * that the first space goes is the one thing to be learnt from them. */
static bool decoder_read(Load *l, json_t *o, const char *where, bool inner) {
    static const char *const fine[] = {"ByteFallback", "Fuse",  "Replace",
                                       "Metaspace",    "Strip", "ByteLevel"};
    const char *type;
    size_t i;
    json_t *one;
    bool known = false;
    if (o == NULL || json_is_null(o)) return true;
    if (!get_type(l, o, where, &type)) return false;
    if (!inner && !strcmp(type, "Sequence")) {
        json_array_foreach(json_object_get(o, "decoders"), i,
                           one) if (!decoder_read(l, one, where, true)) return false;
        return true;
    }
    for (int k = 0; k < COUNT(fine); k++) known |= !strcmp(type, fine[k]);
    bool bytes = !strcmp(type, "ByteLevel");
    if (!known || bytes != (l->t->unit == UNIT_BYTES)) return type_refused(l, where, type);
    l->t->strips_first |=
        !strcmp(type, "Strip") && json_integer_value(json_object_get(o, "start")) > 0;
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static bool model_check(Load *l) {
    const char *type = json_string_value(json_object_get(l->model, "type"));
    static const char *const off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    if (type && strcmp(type, "BPE") != 0) return type_refused(l, "model", type);
    for (int i = 0; i < COUNT(off); i++)
        if (!key_off(l, l->model, "model", off[i])) return false;
    return keys_known(l, l->model, "model",
                      ",type,vocab,merges,unk_token,fuse_unk,dropout,"
                      "continuing_subword_prefix,end_of_word_suffix,byte_fallback,ignore_merges,")
           && get_bool(l, l->model, "model", "byte_fallback", false, &l->byte_fallback)
           && get_bool(l, l->model, "model", "ignore_merges", false, &l->t->whole_words)
           && get_bool(l, l->model, "model", "fuse_unk", false, &l->t->fuse_unknown);
}

/* The token of what has none. It does not matter where every byte is known. */
static bool unknown_read(Load *l) {
    Str name = string_of(json_object_get(l->model, "unk_token"));
    bool all = true;
    for (int b = 0; b < 256; b++) all &= l->t->byte_id[b] >= 0;
    if (all || name.n == 0) return true;
    if (l->t->unit == UNIT_BYTES) return key_off(l, l->model, "model", "unk_token");
    l->t->unknown = vocab_find(&l->t->vocab, name, false);
    if (l->t->unknown < 0) l->t->unknown = token_named(l->t, name);
    return l->t->unknown >= 0 || fail(l, ERR_FORMAT, "model.unk_token", "is not in the vocabulary");
}

/* Whether a pre-tokenizer has ByteLevel: then the vocabulary is one of bytes, else of characters.
 *  */
static bool has_byte_level(json_t *o) {
    const char *type = json_string_value(json_object_get(o, "type"));
    size_t i;
    json_t *one;
    if (type && !strcmp(type, "ByteLevel")) return true;
    json_array_foreach(json_object_get(o, "pretokenizers"), i,
                       one) if (has_byte_level(one)) return true;
    return false;
}

static bool fields_check(Load *l) {
    json_t *pre = json_object_get(l->root, "pre_tokenizer");
    if (!keys_known(l, l->root, "the file",
                    ",version,truncation,padding,added_tokens,normalizer,"
                    "pre_tokenizer,post_processor,decoder,model,"))
        return false;
    l->t->unit = has_byte_level(pre) ? UNIT_BYTES : UNIT_CHARS;
    const Norm space = {.kind = NORM_REPLACE, .from = STR("\xe2\x96\x81"), .to = STR(" ")};
    return model_check(l) && decoder_read(l, json_object_get(l->root, "decoder"), "decoder", false)
           && normalizer_read(l, json_object_get(l->root, "normalizer"), "normalizer", false)
           && (l->t->unit == UNIT_BYTES || norm_add(l->t, &space, l->err));
}

static bool tokens_fill(Load *l) {
    json_t *o;
    size_t i;
    char where[64], *form = arena_try(l->a, MAX(l->longest, 1));
    bool room = form
                && vocab_init(&l->t->vocab, l->a, l->n_ids, l->n_vocab + l->n_added,
                              l->vocab_bytes + l->added_bytes)
                && merges_init(&l->t->merges, l->a, l->n_merges)
                && trie_init(&l->t->raw, l->a, l->sought_bytes)
                && trie_init(&l->t->normal, l->a, l->sought_bytes);
    if (!room) return fail(l, ERR_LIMIT, "the file", "no memory left for its tokens");
    if (!vocab_fill(l, form)) return false;
    json_array_foreach(json_object_get(l->root, "added_tokens"), i,
                       o) if (!added_put(l, o, added_name(where, i))) return false;
    tokenizer_bytes(l->t);
    return merges_fill(l, form) && unknown_read(l);
}

static bool stages_read(Load *l) {
    bool bytes = false;
    json_t *o = json_object_get(l->root, "pre_tokenizer");
    return pretokenizer_read(l, o, "pre_tokenizer", false, &bytes);
}

/* The first token of TemplateProcessing's template for one text; it may stand in a Sequence. */
static void begin_read(Load *l, const json_t *o) {
    const char *type = json_string_value(json_object_get(o, "type"));
    const json_t *first = json_array_get(json_object_get(o, "single"), 0), *one;
    size_t i;
    json_array_foreach(json_object_get(o, "processors"), i, one) {
        if (json_object_get(one, "processors")) continue; /* no deeper than one */
        begin_read(l, one);
    }
    if (!type || strcmp(type, "TemplateProcessing")) return;
    const char *name =
        json_string_value(json_object_get(json_object_get(first, "SpecialToken"), "id"));
    const json_t *ids =
        json_object_get(json_object_get(json_object_get(o, "special_tokens"), name), "ids");
    const json_t *id = json_array_get(ids, 0);
    json_int_t v = json_integer_value(id);
    if (json_is_integer(id) && v >= 0 && v < tokenizer_size(l->t)) l->t->begin = (int32_t)v;
}

bool tokenizer_open_json(Tokenizer **out, Arena *a, Str json, const char *name, Err *err) {
    Mark mark = arena_mark(a);
    Load l = {.t = tokenizer_new(a, name), .a = a, .json = json, .err = err};
    bool ok = tables_find(&l) && rest_parse(&l) && fields_check(&l) && added_count(&l)
              && tokens_fill(&l) && stages_read(&l);
    if (ok) begin_read(&l, json_object_get(l.root, "post_processor"));
    json_decref(l.root);
    *out = l.t;
    if (ok) return true;
    tokenizer_close(l.t);
    arena_pop(a, mark);
    *out = NULL;
    return false;
}
