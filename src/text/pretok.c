/* pretok.c -- cuts text into words: each stage cuts the pieces that the stage before it made.
 *
 * A stage is a regular expression run by PCRE2. Expressions in tokenizer.json are written for
 * Oniguruma. The two languages agree on a large part, and pattern_write accepts only that part. One
 * thing in it differs and is rewritten: PCRE2's \s includes U+180E, and its \p{Han}, as any
 * script's name, means the characters that are used with the script too. The Unicode versions
 * differ too (PCRE2: 14 in Debian 12), so newer characters may be cut differently.
 *
 * An expression does not look beyond the borders of its piece, as in Hugging Face. */
#include "text/tokenizer.h"
#include <ctype.h>
#include <stdio.h>

/* ---- memory ---------------------------------------------------------------------------------- */

static void *arena_malloc(size_t n, void *arena) { return arena_try(arena, (int64_t)n); }
static void arena_free(void *p, void *arena) { (void)p, (void)arena; }

pcre2_general_context *regex_memory(Arena *a) {
    return pcre2_general_context_create(arena_malloc, arena_free, a);
}

/* ---- from Oniguruma's language to PCRE2's ---------------------------------------------------- */

#define SPACES "\\t-\\r\\x{85}\\p{Z}"

typedef struct Rewrite {
    Str in;
    int64_t at;
    bool in_class;
    Buf *out;
    pcre2_general_context *memory;
} Rewrite;

static Str rest(const Rewrite *r) { return (Str){r->in.p + r->at, r->in.n - r->at}; }

static void copy(Rewrite *r, int64_t n) {
    buf_add(r->out, (Str){r->in.p + r->at, n});
    r->at += n;
}

/* Whether a name between the braces of \p is a script's; those of categories are shorter. */
static bool is_script(const Rewrite *r, Str name) {
    char pattern[64];
    PCRE2_SIZE at;
    int code, n = snprintf(pattern, sizeof pattern, "\\p{sc:%.*s}", (int)MIN(name.n, 40), name.p);
    pcre2_compile_context *c = name.n > 2 ? pcre2_compile_context_create(r->memory) : NULL;
    return c && pcre2_compile((PCRE2_SPTR)pattern, (size_t)n, PCRE2_UTF, &code, &at, c);
}

/* An escape at r->at; false: not one of the common part. */
static bool escape_write(Rewrite *r) {
    Str s = rest(r);
    char c = s.n > 1 ? s.p[1] : 0;
    if (c == 's' || (c == 'S' && !r->in_class)) {
        Str class = c == 's' ? STR("[" SPACES "]") : STR("[^" SPACES "]");
        buf_add(r->out, r->in_class ? STR(SPACES) : class);
        r->at += 2;
        return true;
    }
    if (c == 'p' || c == 'P') {
        int64_t n = 3;
        if (s.n < 4 || s.p[2] != '{') return false;
        while (n < s.n && s.p[n] != '}') n++;
        int64_t from = 3 + (s.p[3] == '^');
        if (n < s.n && is_script(r, (Str){s.p + from, n - from})) {
            copy(r, from);
            buf_add(r->out, STR("sc:"));
            n -= from;
        }
        copy(r, MIN(n + 1, rest(r).n));
        return true;
    }
    if (c == 0 || !(ispunct((unsigned char)c) || strchr("dDnrtf", c))) return false;
    copy(r, 2);
    return true;
}

/* The length of a quantifier {n}, {n,} or {n,m} that s begins with; 0: something else. A '+' or '?'
 * behind it is a part of it in one language and another quantifier in the other. */
static int64_t braces_length(Str s) {
    int64_t i = 1;
    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9') i++;
    if (i == 1) return 0;
    if (i < s.n && s.p[i] == ',') i++;
    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9') i++;
    if (i >= s.n || s.p[i] != '}') return 0;
    return i + 1 < s.n && (s.p[i + 1] == '+' || s.p[i + 1] == '?') ? 0 : i + 1;
}

static int64_t prefix_length(Str s, const char *const *list, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (str_starts(s, str_of(list[i]))) return (int64_t)strlen(list[i]);
    return 0;
}

/* What is allowed at r->at is copied, and r moves on; false: not in the common part. */
static bool construct_write(Rewrite *r) {
    static const char *const groups[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    Str s = rest(r);
    int64_t n = 1;
    if (s.p[0] == '\\') return escape_write(r);
    if (r->in_class) {
        if (s.p[0] == '[' || str_starts(s, STR("&&"))) return false;
        r->in_class = s.p[0] != ']';
    } else if (s.p[0] == '[') {
        if (str_starts(s, STR("[]")) || str_starts(s, STR("[^]"))) return false;
        r->in_class = true;
        n = str_starts(s, STR("[^")) ? 2 : 1;
    } else if (s.p[0] == '(' && s.n > 1 && (s.p[1] == '?' || s.p[1] == '*')) {
        n = prefix_length(s, groups, COUNT(groups));
    } else if (s.p[0] == '{') {
        n = braces_length(s);
    } else if (s.p[0] == '^' || s.p[0] == '$') {
        return false;
    }
    copy(r, n);
    return n > 0;
}

static bool pattern_write(Buf *out, const Tokenizer *t, Str pattern, const char *where, Err *err) {
    Rewrite r = {.in = pattern, .out = out, .memory = t->memory};
    while (r.at < pattern.n)
        if (!construct_write(&r))
            return err_set(err, ERR_UNSUPPORTED,
                           "%s: %s: the regular expression has \"%.*s\" at byte %lld, which is not "
                           "supported",
                           t->name, where, (int)MIN(4, pattern.n - r.at), pattern.p + r.at,
                           (long long)r.at);
    return true;
}

/* ---- stages ---------------------------------------------------------------------------------- */

#define REGEX_OPTIONS   (PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE)
#define LITERAL_OPTIONS (PCRE2_UTF | PCRE2_LITERAL)

static pcre2_code *pattern_compile(Tokenizer *t, Str pattern, uint32_t options, const char *where,
                                   Err *err) {
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_compile_context *c = pcre2_compile_context_create(t->memory);
    if (c) pcre2_set_newline(c, PCRE2_NEWLINE_LF);
    pcre2_code *p =
        c ? pcre2_compile((PCRE2_SPTR)pattern.p, (size_t)pattern.n, options, &code, &at, c) : NULL;
    if (p == NULL) {
        char why[128] = "no memory left for it";
        if (c) pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        err_set(err, ERR_FORMAT, "%s: %s: regular expression: %s (at byte %zu of it)", t->name,
                where, why, at);
        return NULL;
    }
    pcre2_jit_compile(p, PCRE2_JIT_COMPLETE); /* where the system forbids it, PCRE2 interprets */
    return p;
}

bool stage_add(Tokenizer *t, Arena *a, Str pattern, const Stage *like, Err *err) {
    Stage s = *like;
    if (t->n_stages == STAGES_MAX)
        return err_set(err, ERR_LIMIT, "%s: %s: more than %d pre-tokenizers", t->name, s.where,
                       STAGES_MAX);
    if (pattern.p != NULL) {
        if (pattern.n == 0 || pattern.n > PATTERN_MAX)
            return err_set(err, ERR_LIMIT, "%s: %s: a pattern of %lld bytes, need 1 to %d", t->name,
                           s.where, (long long)pattern.n, PATTERN_MAX);
        Buf out = {.a = a};
        if (!s.literal && !pattern_write(&out, t, pattern, s.where, err)) return false;
        s.code = s.literal ? pattern_compile(t, pattern, LITERAL_OPTIONS, s.where, err)
                           : pattern_compile(t, buf_str(&out), REGEX_OPTIONS, s.where, err);
        if (s.code == NULL) return false;
    }
    t->stages[t->n_stages++] = s;
    return true;
}

/* ---- cutting --------------------------------------------------------------------------------- */

/* The limits protect against expressions from outside; the known ones need a small part. */
bool pretok_init(Pretok *c, const Tokenizer *t, Arena *scratch, Err *err) {
    pcre2_general_context *memory = regex_memory(scratch);
    c->t = t;
    c->scratch = scratch;
    c->err = err;
    c->found = memory ? pcre2_match_data_create(1, memory) : NULL;
    c->limits = memory ? pcre2_match_context_create(memory) : NULL;
    if (!c->found || !c->limits)
        return err_set(err, ERR_LIMIT, "encoding a text: no scratch memory left");
    pcre2_set_heap_limit(c->limits, 1 << 15); /* KiB */
    return true;
}

/* The next match at or after `from`: [*lo, *hi). 1, 0 for none, -1 for an error. */
static int pattern_find(Pretok *c, const Stage *s, Str text, int64_t from, int64_t *lo,
                        int64_t *hi) {
    PCRE2_SPTR p = (PCRE2_SPTR)text.p;
    size_t n = (size_t)text.n, at = (size_t)from;
    uint32_t options = PCRE2_NO_UTF_CHECK;
    pcre2_set_match_limit(c->limits, 10000000 + 8 * (uint32_t)MIN(text.n, 1 << 28));
    int rc = pcre2_match(s->code, p, n, at, options, c->found, c->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its state in memory */
        rc = pcre2_match(s->code, p, n, at, options | PCRE2_NO_JIT, c->found, c->limits);
    if (rc == PCRE2_ERROR_NOMATCH) return 0;
    if (rc < 0) {
        char why[128] = "";
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
        err_set(c->err, ERR_LIMIT,
                "%s: %s: its regular expression gave up on a piece of %lld bytes: %s", c->t->name,
                s->where, (long long)text.n, why);
        return -1;
    }
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(c->found);
    *lo = (int64_t)place[0], *hi = (int64_t)place[1];
    return 1;
}

/* Goes through a text as gaps and matches in turn. A gap may be absent, a match may be empty. */
typedef struct Piece {
    int64_t lo, hi;
    bool match;
} Piece;
typedef struct Walk {
    Str text;
    int64_t at, last_hi; /* where the next gap begins, where the last match ended */
    bool found;          /* the next piece is a match, and the gap before it was given already */
    Piece next;
} Walk;

/* 1: *p is the next piece; 0: no more; -1: error. An empty match where the last one ended does not
 * count: the search goes on one character later. */
static int walk_next(Pretok *c, const Stage *s, Walk *w, Piece *p) {
    if (w->found) {
        w->found = false;
        *p = w->next;
        return 1;
    }
    int64_t from = w->at, lo = 0, hi = 0;
    int rc;
    while ((rc = pattern_find(c, s, w->text, from, &lo, &hi)) == 1 && lo == hi
           && hi == w->last_hi) {
        if (from >= w->text.n) break;
        from += utf8_length((Str){w->text.p + from, w->text.n - from});
    }
    if (rc < 0) return -1;
    if (rc == 0 || hi == w->last_hi) {
        *p = (Piece){w->at, w->text.n, false};
        w->at = w->last_hi = w->text.n;
        return p->lo < p->hi;
    }
    w->next = (Piece){lo, hi, true};
    *p = lo > w->at ? (Piece){w->at, lo, false} : w->next;
    w->found = lo > w->at;
    w->at = w->last_hi = hi;
    return 1;
}

/* Whether a piece is joined to the one before it. */
static bool joins(CutBehavior b, bool before, bool match) {
    switch (b) {
    case CUT_CONTIGUOUS: return before == match;
    case CUT_MERGED_PREVIOUS: return !before && match;
    case CUT_MERGED_NEXT: return before && !match;
    default: return false;
    }
}

static bool stage_run(Pretok *c, int k, Str text);

static bool piece_out(Pretok *c, int k, Str text, Piece p) {
    const Stage *s = &c->t->stages[k];
    if (p.lo == p.hi) return true;
    if (s->behavior == CUT_REMOVED && p.match) {
        c->first = false;
        return true;
    }
    return stage_run(c, k + 1, (Str){text.p + p.lo, p.hi - p.lo});
}

static bool pieces_run(Pretok *c, int k, Str text) {
    const Stage *s = &c->t->stages[k];
    Walk w = {.text = text, .last_hi = -1};
    Piece held = {0}, p;
    bool holding = false;
    int rc;
    while ((rc = walk_next(c, s, &w, &p)) == 1) {
        p.match ^= s->invert;
        if (holding && joins(s->behavior, held.match, p.match)) {
            held.hi = p.hi;
            held.match = p.match;
            continue;
        }
        if (holding && !piece_out(c, k, text, held)) return false;
        held = p;
        holding = true;
    }
    return rc == 0 && (!holding || piece_out(c, k, text, held));
}

static bool stage_run(Pretok *c, int k, Str text) {
    if (k == c->t->n_stages) return c->word(c->arg, text);
    const Stage *s = &c->t->stages[k];
    bool prefix = s->prefix_space && (!s->prefix_first || c->first);
    if (s->prefix_space) c->first = false;
    if (prefix && text.p[0] != ' ') {
        char *p = arena_try(c->scratch, text.n + 1);
        if (p == NULL) return err_set(c->err, ERR_LIMIT, "encoding a text: no scratch memory left");
        p[0] = ' ';
        memcpy(p + 1, text.p, (size_t)text.n);
        text = (Str){p, text.n + 1};
    }
    return s->code ? pieces_run(c, k, text) : stage_run(c, k + 1, text);
}

bool pretok_run(Pretok *c, Str text) { return text.n == 0 || stage_run(c, 0, text); }
