/* jinja_parse.c -- the source of a template becomes a tree.
 *
 * The lexer follows Jinja2's rules for white space as transformers sets them: a line break behind a
 * block tag belongs to the tag (trim_blocks), blanks between the beginning of a line and a block
 * tag too (lstrip_blocks), `-` takes all white space on its side, `+` switches the two rules off,
 * and one line break at the end of the source is dropped. The parser is one function a level of
 * precedence. Everything it builds is charged against JINJA_NODES and JINJA_DEPTH. */
#include "text/jinja.h"
#include <stdio.h>

typedef enum TokenKind { TOK_END, TOK_NAME, TOK_INT, TOK_FLOAT, TOK_STR, TOK_OP } TokenKind;
typedef struct Tok {
    TokenKind kind;
    Str s; /* spelling; of a string: what stands between its quotes */
    int line;
} Tok;

typedef struct Parser {
    Arena *a;
    Str source;
    const char *name;
    Err *err;
    bool failed;
    int64_t at;   /* in the source */
    int line;     /* there */
    Tok tok;      /* the token under way, inside a tag */
    int64_t open; /* brackets open inside the tag: an end of tag does not count in them */
    bool block;   /* inside {% %}, else inside {{ }} */
    int64_t depth, nodes;
    int64_t text_end; /* where the text before the tag ended, after its rules */
} Parser;

static bool fail(Parser *p, const char *fmt, ...) FORMAT(2, 3);
static bool fail(Parser *p, const char *fmt, ...) {
    char what[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    if (!p->failed) err_set(p->err, ERR_UNSUPPORTED, "%s, line %d: %s", p->name, p->line, what);
    p->failed = true;
    return false;
}

static void *take(Parser *p, int64_t bytes) {
    void *m = arena_try(p->a, MAX(bytes, 1));
    if (!m) fail(p, "no memory is left for the template's tree");
    return m;
}

static Node *node(Parser *p, NodeKind kind) {
    static Node none;
    if (++p->nodes > JINJA_NODES) fail(p, "the template is too large");
    Node *n = p->failed ? NULL : take(p, sizeof *n);
    if (!n) return &none;
    n->kind = kind;
    n->line = p->line;
    return n;
}

/* A growing row of nodes, and of names beside it. */
typedef struct Kids {
    const Node **v;
    Str *name;
    int64_t n, cap;
} Kids;

static void kid_add(Parser *p, Kids *k, const Node *n, Str name) {
    if (k->n == k->cap) {
        int64_t cap = MAX(8, 2 * k->cap);
        const Node **v = take(p, cap * (int64_t)sizeof *v);
        Str *names = take(p, cap * (int64_t)sizeof *names);
        if (!v || !names) return;
        if (k->n) memcpy(v, k->v, (size_t)k->n * sizeof *v);
        if (k->n) memcpy(names, k->name, (size_t)k->n * sizeof *names);
        k->v = v, k->name = names, k->cap = cap;
    }
    k->v[k->n] = n;
    k->name[k->n++] = name;
}

static void kids_give(Node *n, const Kids *k) {
    n->kid = k->v, n->n_kids = k->n;
    n->names = k->name, n->n_names = k->n;
}

/* ---- tokens inside a tag --------------------------------------------------------------------- */

static char look(const Parser *p, int64_t ahead) {
    return p->at + ahead < p->source.n ? p->source.p[p->at + ahead] : 0;
}

static bool starts(const Parser *p, const char *z) {
    Str s = {p->source.p + p->at, p->source.n - p->at};
    return str_starts(s, str_of(z));
}

static bool is_name(char c, bool first) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'
           || (!first && c >= '0' && c <= '9');
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static void advance(Parser *p, int64_t n) {
    for (int64_t i = 0; i < n; i++) p->line += p->source.p[p->at + i] == '\n';
    p->at += n;
}

/* "%}", "-%}" or "+%}" (or with "}}") at the place under way: its length, else 0. */
static int64_t tag_end(const Parser *p) {
    if (p->open > 0) return 0;
    int64_t sign = look(p, 0) == '-' || look(p, 0) == '+';
    char first = p->block ? '%' : '}';
    return look(p, sign) == first && look(p, sign + 1) == '}' ? sign + 2 : 0;
}

static void string_token(Parser *p) {
    char quote = look(p, 0);
    int64_t n = 1;
    while (look(p, n) && look(p, n) != quote) n += look(p, n) == '\\' && look(p, n + 1) ? 2 : 1;
    if (look(p, n) != quote) {
        fail(p, "a string is not closed");
        return;
    }
    p->tok = (Tok){TOK_STR, {p->source.p + p->at + 1, n - 1}, p->line};
    advance(p, n + 1);
}

static void number_token(Parser *p) {
    int64_t n = 0;
    bool real = false;
    while ((look(p, n) >= '0' && look(p, n) <= '9') || look(p, n) == '_') n++;
    if (look(p, n) == '.' && look(p, n + 1) >= '0' && look(p, n + 1) <= '9') {
        real = true;
        for (n++; look(p, n) >= '0' && look(p, n) <= '9';) n++;
    }
    if (look(p, n) == 'e' || look(p, n) == 'E') {
        int64_t sign = look(p, n + 1) == '-' || look(p, n + 1) == '+';
        if (look(p, n + 1 + sign) >= '0' && look(p, n + 1 + sign) <= '9') {
            real = true;
            for (n += 1 + sign; look(p, n) >= '0' && look(p, n) <= '9';) n++;
        }
    }
    p->tok = (Tok){real ? TOK_FLOAT : TOK_INT, {p->source.p + p->at, n}, p->line};
    advance(p, n);
}

/* The next token of the tag; TOK_END at its end, which stays to be closed. */
static void next(Parser *p) {
    static const char *const ops[] = {"**", "//", "==", "!=", "<=", ">="};
    if (p->failed) {
        p->tok = (Tok){.kind = TOK_END};
        return;
    }
    while (is_blank(look(p, 0))) advance(p, 1);
    p->tok = (Tok){TOK_END, {p->source.p + p->at, 0}, p->line};
    if (tag_end(p)) return;
    char c = look(p, 0);
    if (p->at >= p->source.n) {
        fail(p, "a tag is not closed");
    } else if (is_name(c, true)) {
        int64_t n = 1;
        while (is_name(look(p, n), false)) n++;
        p->tok = (Tok){TOK_NAME, {p->source.p + p->at, n}, p->line};
        advance(p, n);
    } else if (c >= '0' && c <= '9') {
        number_token(p);
    } else if (c == '"' || c == '\'') {
        string_token(p);
    } else {
        int64_t n = 1;
        for (int i = 0; i < COUNT(ops); i++)
            if (starts(p, ops[i])) n = 2;
        if (!char_in(c, "+-*/%~()[]{}.,:|=<>!") || (c == '!' && n == 1)) {
            fail(p, "unexpected character '%c'", c);
            return;
        }
        p->open += c == '(' || c == '[' || c == '{';
        p->open -= c == ')' || c == ']' || c == '}';
        if (p->open < 0) fail(p, "unexpected '%c'", c);
        p->tok = (Tok){TOK_OP, {p->source.p + p->at, n}, p->line};
        advance(p, n);
    }
}

static bool is_op(const Parser *p, const char *z) {
    return p->tok.kind == TOK_OP && str_eq(p->tok.s, str_of(z));
}
static bool is_word(const Parser *p, const char *z) {
    return p->tok.kind == TOK_NAME && str_eq(p->tok.s, str_of(z));
}
static bool op_skip(Parser *p, const char *z) {
    bool is = is_op(p, z);
    if (is) next(p);
    return is;
}
static bool word_skip(Parser *p, const char *z) {
    bool is = is_word(p, z);
    if (is) next(p);
    return is;
}
static void expect(Parser *p, const char *z) {
    if (op_skip(p, z) || p->failed) return;
    if (p->tok.kind == TOK_END)
        fail(p, "expected '%s' before the end of the tag", z);
    else
        fail(p, "expected '%s', found '%.*s'", z, (int)MIN(p->tok.s.n, 40), p->tok.s.p);
}
static Str name_take(Parser *p) {
    Str s = p->tok.s;
    if (p->tok.kind != TOK_NAME) fail(p, "a name is expected");
    next(p);
    return s;
}

/* ---- constants ------------------------------------------------------------------------------- */

static int hex(const char *s, int64_t n, uint32_t *out) {
    *out = 0;
    for (int64_t i = 0; i < n; i++) {
        char c = s[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) return 0;
        *out = *out * 16 + (uint32_t)d;
    }
    return (int)n;
}

/* The character behind a backslash at s.p[0]; how many bytes of s it takes. Python's escapes; one
 * that is none stands for itself, backslash included (returns 0). */
static int64_t escape(Str s, char to[4], int *n) {
    static const char from[] = "abfnrtv\\'\"", is[] = "\a\b\f\n\r\t\v\\'\"";
    const char *at = s.n ? strchr(from, s.p[0]) : NULL;
    uint32_t c;
    *n = 1;
    if (at && *at) {
        to[0] = is[at - from];
        return 1;
    }
    if (s.n && s.p[0] == '\n') {
        *n = 0;
        return 1;
    }
    int64_t digits = s.n == 0 ? 0 : s.p[0] == 'x' ? 2 : s.p[0] == 'u' ? 4 : s.p[0] == 'U' ? 8 : 0;
    if (digits == 0 || s.n < 1 + digits || !hex(s.p + 1, digits, &c) || c > 0x10ffff
        || (c >= 0xd800 && c < 0xe000))
        return 0;
    *n = utf8_put(to, (int32_t)c);
    return 1 + digits;
}

static Value string_value(Parser *p, Str s) {
    char *out = take(p, s.n + 1);
    uint8_t *by = take(p, s.n + 1); /* zeros: BY_TEMPLATE */
    if (p->failed) return (Value){0};
    int64_t n = 0;
    for (int64_t i = 0; i < s.n;) {
        int length = 0;
        int64_t used =
            s.p[i] == '\\' ? escape((Str){s.p + i + 1, s.n - i - 1}, out + n, &length) : 0;
        if (used == 0) out[n] = s.p[i], length = 1;
        n += length;
        i += 1 + used;
    }
    return value_text((Text){out, by, n});
}

static Node *constant(Parser *p, Value v) {
    Node *n = node(p, NODE_CONST);
    n->value = v;
    return n;
}

static Node *number(Parser *p, Tok t) {
    char digits[64];
    int64_t n = 0, i = 0;
    double f = 0;
    for (int64_t k = 0; k < t.s.n && n < COUNT(digits); k++)
        if (t.s.p[k] != '_') digits[n++] = t.s.p[k];
    Str s = {digits, n};
    if (n == COUNT(digits) || !(t.kind == TOK_INT ? str_i64(s, &i) : str_f64(s, &f)))
        fail(p, "the number %.*s is out of range", (int)MIN(t.s.n, 40), t.s.p);
    return constant(p, t.kind == TOK_INT ? value_int(i) : value_float(f));
}

/* ---- expressions ----------------------------------------------------------------------------- */

static Node *expression(Parser *p);
static Node *unary(Parser *p, bool filters);

static bool enter(Parser *p) {
    if (++p->depth > JINJA_DEPTH) fail(p, "expressions or blocks are nested too deeply");
    return !p->failed;
}

/* ( args ): positional and named ones, behind the open bracket. */
static void args_read(Parser *p, Kids *k) {
    while (!p->failed && !is_op(p, ")")) {
        if (is_op(p, "*") || is_op(p, "**")) fail(p, "unpacked arguments are not supported");
        Str name = {0};
        if (p->tok.kind == TOK_NAME) { /* name=value needs one more look */
            Parser back = *p;
            name = name_take(p);
            if (!op_skip(p, "=")) *p = back, name = (Str){0};
        }
        kid_add(p, k, expression(p), name);
        if (!op_skip(p, ",")) break;
    }
    expect(p, ")");
    if (k->n > ARGS_MAX - 1) fail(p, "a call with more than %d arguments", ARGS_MAX - 1);
}

static Node *sequence(Parser *p, NodeKind kind, const char *close) {
    Kids k = {0};
    while (!p->failed && !is_op(p, close)) {
        kid_add(p, &k, expression(p), (Str){0});
        if (kind == NODE_DICT) {
            expect(p, ":");
            kid_add(p, &k, expression(p), (Str){0});
        }
        if (!op_skip(p, ",")) break;
    }
    expect(p, close);
    Node *n = node(p, kind);
    kids_give(n, &k);
    return n;
}

/* Behind "(": an expression in brackets, or a tuple. */
static Node *brackets(Parser *p) {
    Kids k = {0};
    bool comma = false;
    while (!p->failed && !is_op(p, ")")) {
        kid_add(p, &k, expression(p), (Str){0});
        comma = op_skip(p, ",");
        if (!comma) break;
    }
    expect(p, ")");
    if (k.n == 1 && !comma) return (Node *)k.v[0];
    Node *n = node(p, NODE_TUPLE);
    kids_give(n, &k);
    return n;
}

static Node *string_node(Parser *p) {
    Value v = string_value(p, p->tok.s);
    next(p);
    while (!p->failed && p->tok.kind == TOK_STR) { /* strings side by side are one */
        Value w = string_value(p, p->tok.s);
        char *both = take(p, v.s.n + w.s.n + 1);
        uint8_t *by = take(p, v.s.n + w.s.n + 1);
        if (p->failed) break;
        memcpy(both, v.s.p, (size_t)v.s.n);
        memcpy(both + v.s.n, w.s.p, (size_t)w.s.n);
        v = value_text((Text){both, by, v.s.n + w.s.n});
        next(p);
    }
    return constant(p, v);
}

static Node *primary(Parser *p) {
    Tok t = p->tok;
    if (t.kind == TOK_STR) return string_node(p);
    if (t.kind == TOK_INT || t.kind == TOK_FLOAT) {
        next(p);
        return number(p, t);
    }
    if (t.kind == TOK_NAME) {
        next(p);
        if (str_eq(t.s, STR("true")) || str_eq(t.s, STR("True")))
            return constant(p, value_bool(true));
        if (str_eq(t.s, STR("false")) || str_eq(t.s, STR("False")))
            return constant(p, value_bool(false));
        if (str_eq(t.s, STR("none")) || str_eq(t.s, STR("None"))) return constant(p, value_none());
        Node *n = node(p, NODE_NAME);
        n->name = t.s;
        return n;
    }
    if (op_skip(p, "(")) return brackets(p);
    if (op_skip(p, "[")) return sequence(p, NODE_LIST, "]");
    if (op_skip(p, "{")) return sequence(p, NODE_DICT, "}");
    if (t.kind == TOK_END)
        fail(p, "an expression is expected before the end of the tag");
    else
        fail(p, "unexpected '%.*s'", (int)MIN(t.s.n, 40), t.s.p);
    return node(p, NODE_CONST);
}

/* Behind "[": an item or a slice. */
static Node *subscript(Parser *p, const Node *of) {
    Kids k = {0};
    bool slice = false;
    for (int part = 0; part < 3 && !p->failed; part++) {
        bool empty = is_op(p, ":") || is_op(p, "]");
        kid_add(p, &k, empty ? NULL : expression(p), (Str){0});
        if (!op_skip(p, ":")) break;
        slice = true;
    }
    if (is_op(p, ",")) fail(p, "several subscripts are not supported");
    expect(p, "]");
    Node *n = node(p, slice ? NODE_SLICE : NODE_ITEM);
    n->a = of;
    if (slice) {
        while (k.n < 3 && !p->failed) kid_add(p, &k, NULL, (Str){0});
        kids_give(n, &k);
    } else {
        n->b = k.n ? k.v[0] : NULL;
        if (!n->b) fail(p, "a subscript is expected");
    }
    return n;
}

static Node *call(Parser *p, const Node *f) {
    Kids k = {0};
    args_read(p, &k);
    Node *n = node(p, NODE_CALL);
    n->a = f;
    kids_give(n, &k);
    return n;
}

static Node *postfix(Parser *p, Node *n) {
    while (!p->failed && enter(p)) {
        p->depth--;
        if (op_skip(p, ".")) {
            Node *attr = node(p, p->tok.kind == TOK_INT ? NODE_ITEM : NODE_ATTR);
            attr->a = n;
            if (p->tok.kind == TOK_INT) {
                Tok t = p->tok;
                next(p);
                attr->b = number(p, t);
            } else {
                attr->name = name_take(p);
            }
            n = attr;
        } else if (op_skip(p, "[")) {
            n = subscript(p, n);
        } else if (op_skip(p, "(")) {
            n = call(p, n);
        } else {
            break;
        }
    }
    return n;
}

/* Names of filters and tests may have dots. */
static Str dotted(Parser *p) {
    Str s = name_take(p);
    while (!p->failed && is_op(p, ".")) {
        next(p);
        Str more = name_take(p);
        s.n = more.p + more.n - s.p;
    }
    return s;
}

static Node *filter(Parser *p, const Node *of) {
    Kids k = {0};
    Node *n = node(p, NODE_FILTER);
    n->a = of;
    n->name = dotted(p);
    if (op_skip(p, "(")) args_read(p, &k);
    kids_give(n, &k);
    return n;
}

/* Behind `is`: a test, whose one argument may stand without brackets. */
static Node *test(Parser *p, const Node *of) {
    bool not = word_skip(p, "not");
    Kids k = {0};
    Node *n = node(p, NODE_TEST);
    n->a = of;
    n->name = dotted(p);
    bool word = p->tok.kind == TOK_NAME && !is_word(p, "else") && !is_word(p, "or")
                && !is_word(p, "and") && !is_word(p, "if") && !is_word(p, "is");
    if (op_skip(p, "("))
        args_read(p, &k);
    else if (word || p->tok.kind == TOK_STR || p->tok.kind == TOK_INT || p->tok.kind == TOK_FLOAT
             || is_op(p, "[") || is_op(p, "{"))
        kid_add(p, &k, postfix(p, primary(p)), (Str){0});
    kids_give(n, &k);
    if (!not ) return n;
    Node *negated = node(p, NODE_UNARY);
    negated->op = "not";
    negated->a = n;
    return negated;
}

static Node *filters_and_tests(Parser *p, Node *n) {
    int64_t chain = 0;
    while (!p->failed) {
        if (++chain > JINJA_DEPTH) fail(p, "a chain of too many filters");
        if (op_skip(p, "|"))
            n = filter(p, n);
        else if (word_skip(p, "is"))
            n = test(p, n);
        else if (op_skip(p, "("))
            n = call(p, n);
        else
            break;
    }
    return n;
}

static Node *unary(Parser *p, bool filters) {
    Node *n;
    if (!enter(p)) return node(p, NODE_CONST);
    if (is_op(p, "-") || is_op(p, "+")) {
        const char *op = is_op(p, "-") ? "-" : "+";
        next(p);
        n = node(p, NODE_UNARY);
        n->op = op;
        n->a = unary(p, false);
    } else {
        n = primary(p);
    }
    n = postfix(p, n);
    if (filters) n = filters_and_tests(p, n);
    p->depth--;
    return n;
}

static Node *binary(Parser *p, const char *op, const Node *a, const Node *b) {
    Node *n = node(p, NODE_BINARY);
    n->op = op, n->a = a, n->b = b;
    return n;
}

/* One level of operators that group to the left. */
static Node *level(Parser *p, const char *const *ops, int64_t n_ops, Node *(*below)(Parser *)) {
    Node *n = below(p);
    for (int64_t chain = 0; !p->failed; chain++) {
        int64_t i = 0;
        while (i < n_ops && !is_op(p, ops[i])) i++;
        if (i == n_ops) return n;
        if (chain > JINJA_DEPTH) fail(p, "an expression of too many terms");
        next(p);
        n = binary(p, ops[i], n, below(p));
    }
    return n;
}

static Node *with_filters(Parser *p) { return unary(p, true); }
static Node *power(Parser *p) {
    static const char *const ops[] = {"**"};
    return level(p, ops, 1, with_filters);
}
static Node *product(Parser *p) {
    static const char *const ops[] = {"*", "//", "/", "%"};
    return level(p, ops, 4, power);
}
static Node *concat(Parser *p) {
    static const char *const ops[] = {"~"};
    return level(p, ops, 1, product);
}
static Node *sum(Parser *p) {
    static const char *const ops[] = {"+", "-"};
    return level(p, ops, 2, concat);
}

/* The operator of a comparison that begins here, skipped; NULL: none. */
static const char *comparison(Parser *p) {
    static const char *const ops[] = {"==", "!=", "<=", ">=", "<", ">"};
    for (int i = 0; i < COUNT(ops); i++)
        if (op_skip(p, ops[i])) return ops[i];
    if (word_skip(p, "in")) return "in";
    if (!is_word(p, "not")) return NULL;
    Parser back = *p;
    next(p);
    if (word_skip(p, "in")) return "not in";
    *p = back;
    return NULL;
}

static Node *compare(Parser *p) {
    Node *first = sum(p);
    Kids k = {0};
    const char *ops[JINJA_DEPTH], *op;
    while (!p->failed && (op = comparison(p))) {
        if (k.n == JINJA_DEPTH) {
            fail(p, "a comparison of too many terms");
            break;
        }
        ops[k.n] = op;
        kid_add(p, &k, sum(p), (Str){0});
    }
    if (k.n == 0) return first;
    Node *n = node(p, NODE_COMPARE);
    n->a = first;
    kids_give(n, &k);
    const char **copy = take(p, k.n * (int64_t)sizeof *copy);
    if (copy) memcpy(copy, ops, (size_t)k.n * sizeof *copy);
    n->ops = copy;
    return n;
}

static Node *negation(Parser *p) {
    if (!is_word(p, "not")) return compare(p);
    if (!enter(p)) return node(p, NODE_CONST);
    next(p);
    Node *n = node(p, NODE_UNARY);
    n->op = "not";
    n->a = negation(p);
    p->depth--;
    return n;
}

static Node *conjunction(Parser *p) {
    Node *n = negation(p);
    while (!p->failed && word_skip(p, "and")) n = binary(p, "and", n, negation(p));
    return n;
}

static Node *disjunction(Parser *p) {
    Node *n = conjunction(p);
    while (!p->failed && word_skip(p, "or")) n = binary(p, "or", n, conjunction(p));
    return n;
}

static Node *expression(Parser *p) {
    if (!enter(p)) return node(p, NODE_CONST);
    Node *n = disjunction(p);
    while (!p->failed && word_skip(p, "if")) {
        Node *choice = node(p, NODE_IF_ELSE);
        choice->b = n;
        choice->a = disjunction(p);
        choice->c = word_skip(p, "else") ? expression(p) : NULL;
        n = choice;
    }
    p->depth--;
    return n;
}

/* a or a, b, c without brackets. */
static Node *open_tuple(Parser *p, Node *(*item)(Parser *)) {
    Node *first = item(p);
    if (!is_op(p, ",")) return first;
    Kids k = {0};
    kid_add(p, &k, first, (Str){0});
    while (!p->failed && op_skip(p, ",") && p->tok.kind != TOK_END)
        kid_add(p, &k, item(p), (Str){0});
    Node *n = node(p, NODE_TUPLE);
    kids_give(n, &k);
    return n;
}

/* ---- text and tags --------------------------------------------------------------------------- */

/* Where the next tag begins, or the end of the source. */
static int64_t tag_find(const Parser *p) {
    for (int64_t i = p->at; i + 1 < p->source.n; i++) {
        char c = p->source.p[i + 1];
        if (p->source.p[i] == '{' && (c == '{' || c == '%' || c == '#')) return i;
    }
    return p->source.n;
}

/* The text from `at` to the tag at `tag`, less what the tag's rules take from its end. */
static Str text_before(const Parser *p, int64_t tag) {
    Str s = {p->source.p + p->at, tag - p->at};
    if (tag == p->source.n) return s;
    char kind = p->source.p[tag + 1], sign = tag + 2 < p->source.n ? p->source.p[tag + 2] : 0;
    if (sign == '-') {
        while (s.n > 0 && is_blank(s.p[s.n - 1])) s.n--;
    } else if (sign != '+' && kind != '{') {
        int64_t line = s.n;
        while (line > 0 && s.p[line - 1] != '\n') line--;
        bool begins = line > 0 || p->at == 0 || p->source.p[p->at - 1] == '\n';
        int64_t i = line;
        while (i < s.n && is_blank(s.p[i])) i++;
        if (begins && i == s.n) s.n = line;
    }
    return s;
}

/* Behind the end of a tag or comment that began its end at `at` with `length` bytes. */
static void tag_close(Parser *p, int64_t length, bool trim) {
    char sign = look(p, 0);
    advance(p, length);
    if (sign == '-')
        while (is_blank(look(p, 0))) advance(p, 1);
    else if (trim && sign != '+' && look(p, 0) == '\n')
        advance(p, 1);
}

static void tag_finish(Parser *p) {
    int64_t n = p->failed ? 0 : tag_end(p);
    if (p->tok.kind != TOK_END || n == 0) {
        fail(p, "unexpected '%.*s' in a tag", (int)MIN(p->tok.s.n, 40), p->tok.s.p);
        return;
    }
    tag_close(p, n, p->block);
}

static void comment_skip(Parser *p) {
    advance(p, 2);
    while (p->at < p->source.n && !starts(p, "#}") && !starts(p, "-#}") && !starts(p, "+#}"))
        advance(p, 1);
    if (p->at >= p->source.n) {
        fail(p, "a comment is not closed");
        return;
    }
    tag_close(p, look(p, 0) == '#' ? 2 : 3, true);
}

static void tag_open(Parser *p, bool block) {
    p->block = block, p->open = 0;
    advance(p, look(p, 2) == '-' || look(p, 2) == '+' ? 3 : 2);
    next(p);
}

static const Node *text_node(Parser *p, Str s) {
    Node *n = node(p, NODE_TEXT);
    uint8_t *by = take(p, s.n);
    n->value = value_text((Text){s.p, by, s.n});
    return n;
}

/* ---- statements ------------------------------------------------------------------------------ */

static const Node *body(Parser *p, const char *const *ends, int64_t n_ends);

#define BODY(p, ...)                                                                               \
    body(p, (const char *const[]){__VA_ARGS__},                                                    \
         (int64_t)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)))

static void names_read(Parser *p, Node *n, const char *close) {
    Kids k = {0};
    bool inner = op_skip(p, "(");
    do kid_add(p, &k, NULL, name_take(p));
    while (!p->failed && op_skip(p, ",") && !(close && is_word(p, close)));
    if (inner) expect(p, ")");
    n->names = k.name, n->n_names = k.n;
}

static const Node *if_read(Parser *p) {
    Node *n = node(p, NODE_IF);
    n->a = open_tuple(p, expression);
    tag_finish(p);
    n->b = BODY(p, "elif", "else", "endif");
    if (word_skip(p, "elif")) {
        if (!enter(p)) return n;
        n->c = if_read(p);
        p->depth--;
        return n; /* the inner one has closed */
    }
    if (word_skip(p, "else")) {
        tag_finish(p);
        n->c = BODY(p, "endif");
    }
    word_skip(p, "endif");
    tag_finish(p);
    return n;
}

static const Node *for_read(Parser *p) {
    Node *n = node(p, NODE_FOR);
    names_read(p, n, "in");
    if (!word_skip(p, "in")) fail(p, "`for` wants `in`");
    n->a = open_tuple(p, disjunction);
    if (word_skip(p, "if")) n->c = expression(p);
    if (is_word(p, "recursive")) fail(p, "recursive loops are not supported");
    tag_finish(p);
    n->b = BODY(p, "else", "endfor");
    if (word_skip(p, "else")) {
        tag_finish(p);
        n->d = BODY(p, "endfor");
    }
    word_skip(p, "endfor");
    tag_finish(p);
    return n;
}

static const Node *set_read(Parser *p) {
    Node *n = node(p, NODE_SET);
    names_read(p, n, NULL);
    if (n->n_names == 1 && op_skip(p, ".")) {
        n->name = n->names[0];
        n->attr = name_take(p);
    }
    if (op_skip(p, "=")) {
        n->a = open_tuple(p, expression);
        tag_finish(p);
        return n;
    }
    if (n->n_names != 1) fail(p, "`set` wants '='");
    Node *of = NULL;
    while (!p->failed && op_skip(p, "|")) of = filter(p, of);
    n->c = of;
    tag_finish(p);
    n->b = BODY(p, "endset");
    word_skip(p, "endset");
    tag_finish(p);
    return n;
}

static const Node *macro_read(Parser *p) {
    Node *n = node(p, NODE_MACRO);
    Kids k = {0};
    n->name = name_take(p);
    expect(p, "(");
    while (!p->failed && !is_op(p, ")")) {
        Str name = name_take(p);
        const Node *value = op_skip(p, "=") ? expression(p) : NULL;
        if (!value && k.n && k.v[k.n - 1]) fail(p, "a parameter without a default behind one with");
        kid_add(p, &k, value, name);
        if (!op_skip(p, ",")) break;
    }
    expect(p, ")");
    if (k.n > ARGS_MAX) fail(p, "a macro with more than %d parameters", ARGS_MAX);
    kids_give(n, &k);
    tag_finish(p);
    n->b = BODY(p, "endmacro");
    word_skip(p, "endmacro");
    if (p->tok.kind == TOK_NAME) next(p); /* endmacro may repeat the name */
    tag_finish(p);
    return n;
}

static const Node *with_read(Parser *p) {
    Node *n = node(p, NODE_WITH);
    Kids k = {0};
    while (!p->failed && p->tok.kind != TOK_END) {
        Str name = name_take(p);
        expect(p, "=");
        kid_add(p, &k, expression(p), name);
        if (!op_skip(p, ",")) break;
    }
    kids_give(n, &k);
    tag_finish(p);
    n->b = BODY(p, "endwith");
    word_skip(p, "endwith");
    tag_finish(p);
    return n;
}

static const Node *pipe_read(Parser *p) {
    Node *n = node(p, NODE_PIPE), *of = filter(p, NULL);
    while (!p->failed && op_skip(p, "|")) of = filter(p, of);
    n->c = of;
    tag_finish(p);
    n->b = BODY(p, "endfilter");
    word_skip(p, "endfilter");
    tag_finish(p);
    return n;
}

/* `generation` marks what a trainer learns from; its body is rendered as it stands. */
static const Node *generation_read(Parser *p) {
    tag_finish(p);
    const Node *n = BODY(p, "endgeneration");
    word_skip(p, "endgeneration");
    tag_finish(p);
    return n;
}

static const Node *raw_read(Parser *p) {
    tag_finish(p);
    int64_t from = p->at;
    for (; p->at < p->source.n; advance(p, 1)) {
        if (!starts(p, "{%")) continue;
        Parser back = *p;
        Str s = text_before(&(Parser){.source = p->source, .at = from}, p->at);
        tag_open(p, true);
        if (!p->failed && word_skip(p, "endraw")) {
            tag_finish(p);
            return text_node(p, s);
        }
        *p = back;
        p->failed = false;
        *p->err = (Err){0};
    }
    fail(p, "`raw` is not closed");
    return node(p, NODE_BLOCK);
}

static const Node *single(Parser *p, NodeKind kind) {
    Node *n = node(p, kind);
    tag_finish(p);
    return n;
}

static const Node *statement(Parser *p) {
    Str name = p->tok.kind == TOK_NAME ? p->tok.s : STR("");
    next(p);
    if (str_eq(name, STR("if"))) return if_read(p);
    if (str_eq(name, STR("for"))) return for_read(p);
    if (str_eq(name, STR("set"))) return set_read(p);
    if (str_eq(name, STR("macro"))) return macro_read(p);
    if (str_eq(name, STR("with"))) return with_read(p);
    if (str_eq(name, STR("filter"))) return pipe_read(p);
    if (str_eq(name, STR("generation"))) return generation_read(p);
    if (str_eq(name, STR("raw"))) return raw_read(p);
    if (str_eq(name, STR("break"))) return single(p, NODE_BREAK);
    if (str_eq(name, STR("continue"))) return single(p, NODE_CONTINUE);
    fail(p, "the statement `%.*s` is not supported", (int)MIN(name.n, 40), name.p);
    return node(p, NODE_BLOCK);
}

static const Node *print_read(Parser *p) {
    Node *n = node(p, NODE_PRINT);
    tag_open(p, false);
    n->a = open_tuple(p, expression);
    tag_finish(p);
    return n;
}

/* Text and tags up to a block tag whose first word is one of `ends` (it is p->tok then, to be
 * closed by the caller), or without ends up to the end of the source. */
static const Node *body(Parser *p, const char *const *ends, int64_t n_ends) {
    Kids k = {0};
    Node *block = node(p, NODE_BLOCK);
    if (!enter(p)) return block;
    while (!p->failed) {
        int64_t tag = tag_find(p);
        Str s = text_before(p, tag);
        if (s.n > 0) kid_add(p, &k, text_node(p, s), (Str){0});
        advance(p, tag - p->at);
        if (p->at >= p->source.n) {
            if (n_ends) fail(p, "`%s` is missing at the end of the template", ends[n_ends - 1]);
            break;
        }
        char kind = look(p, 1);
        if (kind == '#') {
            comment_skip(p);
        } else if (kind == '{') {
            kid_add(p, &k, print_read(p), (Str){0});
        } else {
            tag_open(p, true);
            bool end = false;
            for (int64_t i = 0; i < n_ends; i++) end = end || is_word(p, ends[i]);
            if (end) break;
            kid_add(p, &k, statement(p), (Str){0});
        }
    }
    p->depth--;
    kids_give(block, &k);
    return block;
}

/* Line breaks become "\n", and one at the end goes. */
static Str source_copy(Arena *a, Str source) {
    char *to = arena_try(a, source.n + 1);
    if (!to) return (Str){0};
    int64_t n = 0;
    for (int64_t i = 0; i < source.n; i++) {
        if (source.p[i] == '\r' && i + 1 < source.n && source.p[i + 1] == '\n') continue;
        to[n++] = source.p[i] == '\r' ? '\n' : source.p[i];
    }
    if (n > 0 && to[n - 1] == '\n') n--;
    return (Str){to, n};
}

const Node *jinja_parse(Arena *a, Str source, const char *name, Err *err) {
    Parser p = {.a = a, .name = name, .err = err, .line = 1};
    p.source = source_copy(a, source);
    if (!p.source.p) {
        err_set(err, ERR_LIMIT, "%s: no memory is left for the template", name);
        return NULL;
    }
    const Node *n = body(&p, NULL, 0);
    return p.failed ? NULL : n;
}
