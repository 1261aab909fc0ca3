/* pattern.c -- regular expressions: a tree, then a net.
 *
 *   alternatives:  parts | parts          part:  item, item* item+ item? item{m} item{m,} item{m,n}
 *   item:          a character, an escape, . [class] (alternatives) (?:alternatives)
 *
 * ^ and $ may stand at the ends of the outermost alternatives. A class is a list of ranges of
 * characters. No expression is ever matched by trial: its net is walked, a byte at a time. */
#include "text/pattern.h"

#include "text/lexicon.h"

enum { PATTERN_BYTES = 4096, PATTERN_DEPTH = 50, REPEAT_MOST = 10000, CHAR_LAST = 0x10ffff };

typedef enum ReKind { RE_CLASS, RE_ALL, RE_EITHER, RE_REPEAT } ReKind;
typedef struct CharRange {
    int32_t lo, hi;
} CharRange;
struct Pattern {
    ReKind kind;
    CharRange *range; /* CLASS: (n), in order, apart */
    Pattern **part;   /* ALL, one behind the other; EITHER; REPEAT: one */
    int64_t n, room;
    int32_t least, most; /* REPEAT */
};

typedef struct Reader {
    Arena *a;
    Str text, rest;
    int depth;
    bool search;
    Err *err;
} Reader;

/* ---- the tree -------------------------------------------------------------------------------- */

static Pattern *pattern_new(Arena *a, ReKind kind) {
    Pattern *p = PUSH(a, Pattern, 1);
    p->kind = kind;
    return p;
}

static void part_add(Arena *a, Pattern *p, Pattern *part) {
    if (p->n == p->room) {
        Pattern **more = PUSH(a, Pattern *, p->room = 2 * p->room + 4);
        if (p->n) memcpy(more, p->part, (size_t)p->n * sizeof *more);
        p->part = more;
    }
    p->part[p->n++] = part;
}

static void range_add(Arena *a, Pattern *p, int32_t lo, int32_t hi) {
    if (p->n == p->room) {
        CharRange *more = PUSH(a, CharRange, p->room = 2 * p->room + 4);
        if (p->n) memcpy(more, p->range, (size_t)p->n * sizeof *more);
        p->range = more;
    }
    p->range[p->n++] = (CharRange){lo, hi};
}

/* In order, and what touches is one. */
static void ranges_settle(Pattern *p) {
    for (int64_t i = 1; i < p->n; i++)
        for (int64_t j = i; j > 0 && p->range[j].lo < p->range[j - 1].lo; j--) {
            const CharRange r = p->range[j];
            p->range[j] = p->range[j - 1], p->range[j - 1] = r;
        }
    int64_t n = 0;
    for (int64_t i = 0; i < p->n; i++) {
        if (n > 0 && p->range[i].lo <= p->range[n - 1].hi + 1)
            p->range[n - 1].hi = MAX(p->range[n - 1].hi, p->range[i].hi);
        else
            p->range[n++] = p->range[i];
    }
    p->n = n;
}

/* All other characters up to `last`. */
static Pattern *complement(Arena *a, Pattern *p, int32_t last) {
    Pattern *c = pattern_new(a, RE_CLASS);
    int32_t from = 0;
    ranges_settle(p);
    for (int64_t i = 0; i < p->n && p->range[i].lo <= last; i++) {
        if (p->range[i].lo > from) range_add(a, c, from, p->range[i].lo - 1);
        from = p->range[i].hi + 1;
    }
    if (from <= last) range_add(a, c, from, last);
    return c;
}

static Pattern *chars(Arena *a, int32_t lo, int32_t hi) {
    Pattern *p = pattern_new(a, RE_CLASS);
    range_add(a, p, lo, hi);
    return p;
}

static Pattern *repeated(Arena *a, Pattern *what, int32_t least, int32_t most) {
    Pattern *p = pattern_new(a, RE_REPEAT);
    part_add(a, p, what);
    p->least = least, p->most = most;
    return p;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool wrong(Reader *r, const char *what) {
    return err_set(r->err, ERR_UNSUPPORTED, "%s at byte %lld of the expression '%.*s'", what,
                   (long long)(r->rest.p - r->text.p), (int)MIN(r->text.n, 200), r->text.p);
}

static bool take(Reader *r, const char *s) {
    const Str part = str_of(s);
    if (!str_starts(r->rest, part)) return false;
    r->rest.p += part.n, r->rest.n -= part.n;
    return true;
}

static int32_t char_take(Reader *r) {
    const int n = utf8_length(r->rest);
    const uint8_t *p = (const uint8_t *)r->rest.p;
    if (n == 0) return -1;
    int32_t c = n == 1 ? p[0] : p[0] & (0x7f >> n);
    for (int i = 1; i < n; i++) c = c << 6 | (p[i] & 0x3f);
    r->rest.p += n, r->rest.n -= n;
    return c;
}

static int32_t hex_take(Reader *r, int digits) {
    int32_t c = 0;
    for (int i = 0; i < digits; i++) {
        const int d = r->rest.n > 0 ? r->rest.p[0] : 0;
        const int v = d >= '0' && d <= '9'                 ? d - '0'
                      : (d | 32) >= 'a' && (d | 32) <= 'f' ? (d | 32) - 'a' + 10
                                                           : -1;
        if (v < 0) return -1;
        c = c << 4 | v;
        r->rest.p++, r->rest.n--;
    }
    return c >= 0xd800 && c <= 0xdfff ? -1 : c;
}

/* What \d, \w, \s and their opposites stand for. Only ASCII: what more they may match differs from
 * language to language. */
static bool shorthand_add(Reader *r, Pattern *to, char c) {
    Pattern *p = pattern_new(r->a, RE_CLASS);
    const char lower = (char)(c | 32);
    if (lower == 'd' || lower == 'w') range_add(r->a, p, '0', '9');
    if (lower == 'w') {
        range_add(r->a, p, 'A', 'Z'), range_add(r->a, p, 'a', 'z'), range_add(r->a, p, '_', '_');
    }
    if (lower == 's') range_add(r->a, p, '\t', '\r'), range_add(r->a, p, ' ', ' ');
    if (p->n == 0) return false;
    if (c != lower) p = complement(r->a, p, 0x7f);
    for (int64_t i = 0; i < p->n; i++) range_add(r->a, to, p->range[i].lo, p->range[i].hi);
    return true;
}

/* Behind a backslash: a class is added to `to` and *c is -1, else *c is the character. */
static bool escape_take(Reader *r, Pattern *to, int32_t *c) {
    static const char letters[] = "nrtfv0", meant[] = "\n\r\t\f\v";
    *c = -1;
    if (r->rest.n == 0) return wrong(r, "nothing behind a backslash");
    const char letter = r->rest.p[0];
    if (shorthand_add(r, to, letter)) return r->rest.p++, r->rest.n--, true;
    if (take(r, "x"))
        *c = hex_take(r, 2);
    else if (take(r, "u"))
        *c = hex_take(r, 4);
    else if (char_in(letter, letters)) {
        *c = meant[strchr(letters, letter) - letters];
        r->rest.p++, r->rest.n--;
    } else if (!((letter | 32) >= 'a' && (letter | 32) <= 'z') && !(letter >= '0' && letter <= '9'))
        return (*c = char_take(r)) >= 0 || wrong(r, "no UTF-8");
    else
        return wrong(r, "an escape that is not known");
    return *c >= 0 || wrong(r, "no character");
}

/* Behind '['. */
static bool class_take(Reader *r, Pattern **out) {
    Pattern *p = pattern_new(r->a, RE_CLASS);
    const bool not = take(r, "^");
    for (bool first = true; first || !take(r, "]"); first = false) {
        int32_t lo, hi;
        if (r->rest.n == 0) return wrong(r, "a class without its ]");
        if (first && take(r, "]")) return wrong(r, "an empty class");
        if (take(r, "[")) return wrong(r, "a [ in a class: write \\[");
        if (take(r, "\\")) {
            if (!escape_take(r, p, &lo)) return false;
        } else if ((lo = char_take(r)) < 0) {
            return wrong(r, "no UTF-8");
        }
        hi = lo;
        if (lo >= 0 && r->rest.n > 1 && r->rest.p[0] == '-' && r->rest.p[1] != ']') {
            (void)take(r, "-");
            if (take(r, "\\")) {
                if (!escape_take(r, p, &hi)) return false;
            } else {
                hi = char_take(r);
            }
            if (hi < lo) return wrong(r, "a range that ends before it begins");
        }
        if (lo >= 0) range_add(r->a, p, lo, hi);
    }
    if (not ) p = complement(r->a, p, CHAR_LAST);
    ranges_settle(p);
    *out = p;
    return true;
}

static bool either_take(Reader *r, Pattern **out, bool outermost);

static bool item_take(Reader *r, Pattern **out) {
    int32_t c;
    if (take(r, "(")) {
        if (take(r, "?") && !take(r, ":")) return wrong(r, "a group of a kind that is not known");
        if (++r->depth > PATTERN_DEPTH) return wrong(r, "too many groups in groups");
        if (!either_take(r, out, false)) return false;
        r->depth--;
        return take(r, ")") || wrong(r, "a group without its )");
    }
    if (take(r, "[")) return class_take(r, out);
    if (take(r, ".")) {
        Pattern *line = chars(r->a, '\n', '\n');
        range_add(r->a, line, '\r', '\r'), range_add(r->a, line, 0x2028, 0x2029);
        *out = complement(r->a, line, CHAR_LAST);
        return true;
    }
    if (char_in(r->rest.p[0], "*+?{")) return wrong(r, "nothing to repeat");
    if (char_in(r->rest.p[0], "^$")) return wrong(r, "an anchor inside");
    *out = pattern_new(r->a, RE_CLASS);
    if (!take(r, "\\"))
        c = char_take(r);
    else if (!escape_take(r, *out, &c))
        return false;
    else if (c < 0)
        return ranges_settle(*out), true;
    if (c < 0) return wrong(r, "no UTF-8");
    range_add(r->a, *out, c, c);
    return true;
}

static bool number_take(Reader *r, int32_t *n) {
    const char *from = r->rest.p;
    for (*n = 0; r->rest.n > 0 && r->rest.p[0] >= '0' && r->rest.p[0] <= '9';
         r->rest.p++, r->rest.n--)
        if ((*n = 10 * *n + r->rest.p[0] - '0') > REPEAT_MOST)
            return wrong(r, "more than 10000 times");
    return r->rest.p > from || wrong(r, "a number is missing");
}

/* One item and how often. */
static bool part_take(Reader *r, Pattern *to) {
    Pattern *p;
    int32_t least, most;
    if (!item_take(r, &p)) return false;
    if (take(r, "*"))
        least = 0, most = NET_FOREVER;
    else if (take(r, "+"))
        least = 1, most = NET_FOREVER;
    else if (take(r, "?"))
        least = 0, most = 1;
    else if (take(r, "{")) {
        if (!number_take(r, &least)) return false;
        most = least;
        if (take(r, ",")) {
            most = NET_FOREVER;
            if (r->rest.n > 0 && r->rest.p[0] != '}' && !number_take(r, &most)) return false;
        }
        if (!take(r, "}")) return wrong(r, "a { without its }");
        if (most < least) return wrong(r, "a range that ends before it begins");
    } else {
        return part_add(r->a, to, p), true;
    }
    if (take(r, "?")) {} /* as little as possible: the same texts */
    if (r->rest.n > 0 && char_in(r->rest.p[0], "*+?{"))
        return wrong(r, "a repetition of a repetition");
    part_add(r->a, to, repeated(r->a, p, least, most));
    return true;
}

static bool all_take(Reader *r, Pattern **out, bool outermost) {
    Pattern *p = pattern_new(r->a, RE_ALL);
    const bool begin = outermost && take(r, "^");
    bool end = false;
    if (!begin && outermost && r->search)
        part_add(r->a, p, repeated(r->a, chars(r->a, 0, CHAR_LAST), 0, NET_FOREVER));
    while (r->rest.n > 0 && !end && !char_in(r->rest.p[0], "|)")) {
        end = outermost && r->rest.p[0] == '$' && (r->rest.n == 1 || r->rest.p[1] == '|');
        if (end ? !take(r, "$") : !part_take(r, p)) return false;
    }
    if (!end && outermost && r->search)
        part_add(r->a, p, repeated(r->a, chars(r->a, 0, CHAR_LAST), 0, NET_FOREVER));
    *out = p;
    return true;
}

static bool either_take(Reader *r, Pattern **out, bool outermost) {
    Pattern *p = pattern_new(r->a, RE_EITHER), *one;
    do {
        if (!all_take(r, &one, outermost)) return false;
        part_add(r->a, p, one);
    } while (take(r, "|"));
    *out = p;
    return true;
}

bool pattern_parse(Pattern **out, Arena *a, Str text, bool search, Err *err) {
    Reader r = {.a = a, .text = text, .rest = text, .search = search, .err = err};
    if (text.n > PATTERN_BYTES)
        return err_set(err, ERR_LIMIT, "the expression has %lld bytes, and %d are the most",
                       (long long)text.n, PATTERN_BYTES);
    if (!either_take(&r, out, true)) return false;
    return r.rest.n == 0 || wrong(&r, "a ) without its (");
}

static int64_t times(int64_t a, int64_t b) {
    if (a == 0 || b == 0) return 0;
    return a > NET_FOREVER / b ? NET_FOREVER : a * b;
}

void pattern_lengths(const Pattern *p, int64_t *least, int64_t *most) {
    *least = *most = p->kind == RE_CLASS;
    if (p->kind == RE_EITHER) *least = NET_FOREVER;
    for (int64_t i = 0; p->kind != RE_CLASS && i < p->n; i++) {
        int64_t lo, hi;
        pattern_lengths(p->part[i], &lo, &hi);
        if (p->kind == RE_REPEAT) *least = times(lo, p->least), *most = times(hi, p->most);
        if (p->kind == RE_ALL) *least += lo, *most = MIN(*most + hi, NET_FOREVER);
        if (p->kind == RE_EITHER) *least = MIN(*least, lo), *most = MAX(*most, hi);
    }
}

/* ---- the net --------------------------------------------------------------------------------- */

static bool class_has(const Pattern *p, int32_t c) {
    for (int64_t i = 0; i < p->n; i++)
        if (c >= p->range[i].lo && c <= p->range[i].hi) return true;
    return false;
}

/* The characters of ASCII that are written as they are. */
static bool stands_itself(int c, Writing w) {
    return w == WRITE_PLAIN
           || (c >= ' ' && c != '"' && c != '\\' && !(w == WRITE_CALL && c == '<'));
}

static CharKind class_kind(const Pattern *p, Writing w) {
    CharKind k = {.beyond = BEYOND_NONE};
    for (int c = 0; c < 0x80; c++)
        if (class_has(p, c) && stands_itself(c, w)) k.ascii[c >> 6] |= (uint64_t)1 << (c & 63);
    if (p->n > 0 && p->range[p->n - 1].lo <= 0x80 && p->range[p->n - 1].hi == CHAR_LAST)
        k.beyond = BEYOND_UTF8;
    return k;
}

static int32_t class_put(Net *n, const Pattern *p, Writing w, int32_t next) {
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    ByteSet plain = {0}, letter = {0};
    const CharKind k = class_kind(p, w);
    memcpy(plain.w, k.ascii, sizeof k.ascii);
    int32_t node = k.ascii[0] | k.ascii[1] ? net_set(n, plain, next) : NET_NONE;
    for (int i = 0; w != WRITE_PLAIN && escaped[i]; i++)
        if (class_has(p, escaped[i])) set_add(&letter, letters[i]);
    if (letter.w[0] | letter.w[1])
        node = net_or(n, node, net_text(n, STR("\\"), net_set(n, letter, next)));
    if (w == WRITE_CALL && class_has(p, '<'))
        node = net_or(n, node, net_text(n, STR("\\u003c"), next));
    for (int64_t i = 0; i < p->n; i++)
        if (p->range[i].hi > 0x7f)
            node = net_or(n, node, net_chars(n, MAX(p->range[i].lo, 0x80), p->range[i].hi, next));
    return node;
}

static int32_t repeat_put(Net *n, Pattern *p, Writing w, int32_t next) {
    Pattern *what = p->part[0];
    const int loop = what->kind == RE_CLASS ? net_loop(n, class_kind(what, w)) : 0;
    int32_t rule = -1, node = next, left = 0;
    if (what->kind == RE_CLASS && MIN(p->most, NET_NODES) + p->least > 2) {
        rule = net_rule(n); /* so that each repetition takes few states */
        n->rule[rule] = class_put(n, what, w, NET_RETURN);
    }
    if (p->most == NET_FOREVER) {
        node = net_place(n);
        net_put(n, node, rule < 0 ? pattern_put(n, what, w, node) : net_call(n, rule, node), next);
        net_mark(n, node, loop, left = NET_FOREVER, false);
    }
    for (int32_t i = p->most == NET_FOREVER ? p->least : p->most; i > 0 && !n->full; i--) {
        const int32_t one = rule < 0 ? pattern_put(n, what, w, node) : net_call(n, rule, node);
        node = i > p->least ? net_or(n, one, next) : one;
        if (left < NET_FOREVER) left++;
        net_mark(n, node, loop, left, false);
    }
    return node;
}

int32_t pattern_put(Net *n, Pattern *p, Writing w, int32_t next) {
    int32_t node = NET_NONE;
    n->full |= ++n->work > NET_WORK;
    if (n->full) return NET_NONE;
    switch (p->kind) {
    case RE_CLASS: return class_put(n, p, w, next);
    case RE_REPEAT: return repeat_put(n, p, w, next);
    case RE_EITHER:
        for (int64_t i = p->n; i > 0; i--)
            node = net_or(n, pattern_put(n, p->part[i - 1], w, next), node);
        return node;
    case RE_ALL:
        for (int64_t i = p->n; i > 0; i--) next = pattern_put(n, p->part[i - 1], w, next);
        return next;
    }
    return NET_NONE;
}

int32_t pattern_known(Net *n, const char *text, Writing w, int32_t next) {
    Pattern *p;
    Err err = {0};
    CHECK(pattern_parse(&p, n->a, str_of(text), false, &err));
    return pattern_put(n, p, w, next);
}

/* ---- texts of JSON --------------------------------------------------------------------------- */

/* \n and the like, and \uXXXX, of surrogates only pairs; no \u0000. */
#define HEX "[0-9a-fA-F]"
static const char escapes[] = "\\\\(?:[\"\\\\/bfnrt]|u(?:000[1-9a-fA-F]|00[1-9a-fA-F]" HEX
                              "|0[1-9a-fA-F]" HEX "{2}|[1-9a-cA-CefEF]" HEX "{3}|[dD][0-7]" HEX
                              "{2}|[dD][89abAB]" HEX "{2}\\\\u[dD][c-fC-F]" HEX "{2}))";

int32_t chars_but(Net *n, const int32_t * not, int64_t n_not, Writing w, int32_t next) {
    Pattern *p = chars(n->a, 0, 0x1f);
    range_add(n->a, p, '"', '"'), range_add(n->a, p, '\\', '\\');
    if (w == WRITE_CALL) range_add(n->a, p, '<', '<');
    for (int64_t i = 0; i < n_not; i++) range_add(n->a, p, not [i], not [i]);
    return class_put(n, complement(n->a, p, CHAR_LAST), WRITE_PLAIN, next);
}

/* A rule of one character: not one of these, and as an escape any. */
static int32_t char_rule(Net *n, const int32_t * not, int64_t n_not, Writing w) {
    const int32_t rule = net_rule(n);
    n->rule[rule] = net_or(n, chars_but(n, not, n_not, w, NET_RETURN),
                           pattern_known(n, escapes, WRITE_PLAIN, NET_RETURN));
    return rule;
}

/* Places with so many characters to go: in general, and behind a < that a tag might begin with. */
typedef struct Places {
    int32_t any, open;
} Places;

/* One more character in front of `to`; may_end: or the end of the text. */
static Places places_before(Net *n, Places to, Writing w, int32_t next, bool may_end) {
    const int32_t open = w == WRITE_CALL ? net_text(n, STR("<"), to.open) : NET_NONE;
    const int32_t end = may_end ? next : NET_NONE;
    Places p;
    p.any = net_or(n, net_or(n, net_call(n, n->texts[w], to.any), open), end);
    if (w != WRITE_CALL) return (Places){p.any, p.any};
    p.open = net_or(n, net_or(n, net_call(n, n->texts_open, to.any), open), end);
    return p;
}

int32_t any_text(Net *n, Writing w, int32_t least, int32_t most, int32_t next) {
    static const int32_t closing[] = {'/', 0xff5c}; /* </tool_call>, and DeepSeek's tags */
    const int loop = net_loop(n, char_kinds[w == WRITE_CALL ? KIND_CALL : KIND_JSON]);
    const int loop_open = w == WRITE_CALL ? net_loop(n, char_kinds[KIND_OPEN]) : 0;
    if (n->texts[w] < 0) n->texts[w] = char_rule(n, NULL, 0, w);
    if (w == WRITE_CALL && n->texts_open < 0) n->texts_open = char_rule(n, closing, 2, w);
    Places p = {next, next};
    int32_t left = 0;
    if (most == NET_FOREVER) {
        p = (Places){net_place(n), w == WRITE_CALL ? net_place(n) : NET_NONE};
        const Places again = places_before(n, p, w, next, true);
        net_put(n, p.any, again.any, NET_NONE);
        net_put(n, p.open, again.open, NET_NONE);
        net_mark(n, p.any, loop, left = NET_FOREVER, true);
        net_mark(n, p.open, loop_open, left, false);
    }
    for (int32_t i = most == NET_FOREVER ? least : most; i > 0 && !n->full; i--) {
        p = places_before(n, p, w, next, i > least);
        if (left < NET_FOREVER) left++;
        if (p.open != p.any) net_mark(n, p.open, loop_open, left, false);
        net_mark(n, p.any, loop, left, true);
    }
    return p.any;
}

Str text_written(Arena *a, Str s, Writing w) {
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    Buf b = {.a = a};
    for (int64_t i = 0; i < s.n; i++) {
        const char c = s.p[i], *known = c ? strchr(escaped, c) : NULL;
        if (known)
            buf_fmt(&b, "\\%c", letters[known - escaped]);
        else if ((uint8_t)c < 0x20 || (w == WRITE_CALL && c == '<'))
            buf_fmt(&b, "\\u%04x", c);
        else
            buf_add(&b, (Str){s.p + i, 1});
    }
    return buf_str(&b);
}
