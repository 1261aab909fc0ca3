/* jinja.h -- private to text/: the part of Jinja that chat templates use, interpreted.
 *
 *   jinja_parse.c   source -> tree (lexer and parser)
 *   jinja_value.c   values: strings, lists, dictionaries; comparing, printing, JSON
 *   jinja_methods.c methods and members of values, and the work on strings that filters share
 *   jinja_lib.c     filters, tests and global functions
 *   jinja_eval.c    tree and variables -> text
 *
 * It follows Jinja2 3.1 as transformers sets it up: sandboxed and immutable, trim_blocks,
 * lstrip_blocks, loop controls, autoescape off. No library serves, because every character must
 * remember whether the template or a message wrote it: only what the template wrote may become a
 * special token. So a string is two rows of the same length, bytes and origins.
 *
 * A template comes with a model and is data from outside. Parsing and evaluation are bounded in
 * depth, in steps (JINJA_STEPS) and in memory (JINJA_BYTES); exceeding a bound is an error like any
 * other. Errors: the first one is kept in j->err and j->failed is set; whoever sees the flag
 * returns. A function's value is then without meaning. */
#pragma once
#include "base/base.h"

enum { JINJA_DEPTH = 120, JINJA_NODES = 1 << 18, JINJA_STEPS = 50000000, JINJA_BYTES = 1 << 28 };

/* Who wrote a character. */
enum { BY_TEMPLATE = 0, BY_MESSAGE = 1 };

/* ---- values ---------------------------------------------------------------------------------- */

typedef enum ValueKind {
    VALUE_UNDEFINED,
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_STR,
    VALUE_LIST,
    VALUE_DICT,
    VALUE_NAMESPACE, /* a dictionary whose members `set` may change */
    VALUE_LOOP,      /* the variable `loop` */
    VALUE_MACRO,
    VALUE_FUNCTION, /* a global function */
    VALUE_METHOD    /* a method bound to its object */
} ValueKind;

typedef struct Text {
    const char *p;
    const uint8_t *by; /* BY_TEMPLATE or BY_MESSAGE, one for each byte */
    int64_t n;
} Text;

typedef struct Value Value;
typedef struct List {
    Value *v;
    int64_t n, cap;
    bool tuple; /* printed in parentheses */
} List;
typedef struct Dict { /* in order of insertion */
    Value *key, *value;
    int64_t n, cap;
} Dict;
typedef struct Loop {
    const List *items;
    int64_t at; /* of the item under way */
} Loop;
typedef struct Method Method;
typedef struct Node Node;
struct Value {
    ValueKind kind;
    bool safe; /* of a string: Python's Markup, which escapes what `+` joins to it */
    union {
        bool b;
        int64_t i;
        double f;
        Text s;
        List *list;
        Dict *dict; /* of namespaces too */
        Loop *loop;
        const Node *macro;
        const Method *method;
        int64_t function; /* its place in the table of jinja_lib.c */
        Str missing;      /* VALUE_UNDEFINED: the name that was looked for, for messages */
    };
};

/* Arguments of a call, filter or test: positional ones, then named ones. */
enum { ARGS_MAX = 64 };
typedef struct Args {
    Value v[ARGS_MAX];
    Str name[ARGS_MAX]; /* name[i].p NULL: positional */
    int64_t n;
} Args;

/* ---- the tree -------------------------------------------------------------------------------- */

typedef enum NodeKind {
    /* expressions */
    NODE_CONST,   /* value */
    NODE_NAME,    /* name */
    NODE_TUPLE,   /* list: kids */
    NODE_LIST,    /* kids */
    NODE_DICT,    /* kids: key, value, key, value, ... */
    NODE_ATTR,    /* a . name */
    NODE_ITEM,    /* a [ b ] */
    NODE_SLICE,   /* a [ kids[0] : kids[1] : kids[2] ], a kid may be NULL */
    NODE_CALL,    /* a ( args ) */
    NODE_FILTER,  /* a | name ( args ); a NULL: of a filter block */
    NODE_TEST,    /* a is name ( args ) */
    NODE_UNARY,   /* op a: "not", "-", "+" */
    NODE_BINARY,  /* a op b: arithmetic, "~", "and", "or" */
    NODE_COMPARE, /* a, then kids[i] with ops[i]: == != < <= > >= in "not in" */
    NODE_IF_ELSE, /* b if a else c (c NULL: undefined) */
    /* statements */
    NODE_TEXT,  /* value: a string */
    NODE_PRINT, /* {{ a }} */
    NODE_BLOCK, /* kids, one after the other */
    NODE_IF,    /* a: condition, b: block, c: block or NODE_IF or NULL */
    NODE_FOR,   /* names, a: iterable, c: filter or NULL, b: body, d: else or NULL */
    NODE_SET,   /* names or name.attr = a; or, a NULL, b: a block whose text it is; c: filters */
    NODE_MACRO, /* name, names: parameters, kids: defaults of the last ones, b: body */
    NODE_WITH,  /* names, kids: values, b: body */
    NODE_PIPE,  /* {% filter %}: c: filters, b: body */
    NODE_BREAK,
    NODE_CONTINUE
} NodeKind;

struct Node {
    NodeKind kind;
    int line;
    Str name, attr; /* attr: of `set name.attr` */
    const char *op; /* of unary and binary */
    const Node *a, *b, *c, *d;
    const Node **kid;
    int64_t n_kids;
    const Str
        *names; /* of kids that are named arguments (p NULL: positional), targets, parameters */
    int64_t n_names;
    const char *const *ops;
    Value value;
};

/* ---- the interpreter ------------------------------------------------------------------------- */

typedef struct Binding Binding;
typedef struct Scope { /* names and their values; the one above is looked into after it */
    struct Scope *up;
    Binding *v;
    int64_t n, cap;
} Scope;
typedef struct Jinja {
    Arena *a; /* of values */
    Err *err;
    const char *name; /* of the template, for messages */
    bool failed;
    int line;                    /* of the node under way */
    int64_t steps, bytes, depth; /* steps and bytes that are left; calls under way */
    Scope *scope, *root;
    int64_t now; /* seconds since 1970, for strftime_now */
} Jinja;

/* Keeps the first error, "NAME, line N: message"; returns false. */
bool jinja_fail(Jinja *j, const char *fmt, ...) FORMAT(2, 3);
/* Pays for n steps of work; false when they are used up. */
bool jinja_pay(Jinja *j, int64_t n);
void *jinja_push(Jinja *j, int64_t bytes); /* NULL, and failed, when memory is used up */

/* jinja_parse.c. NULL with an Err. The tree lives in `a` and points into `source`. */
const Node *jinja_parse(Arena *a, Str source, const char *name, Err *err);

/* jinja_eval.c */
void jinja_init(Jinja *j, Scope *root, Arena *a, const char *name, int64_t now, Err *err);
void name_set(Jinja *j, Str name, Value v); /* before jinja_run: a variable of the template */
/* What the template writes. */
bool jinja_run(Jinja *j, Text *out, const Node *tree) CHECKED;
bool value_call(Jinja *j, Value *out, Value f, Args *args);

/* jinja_value.c */
typedef struct TextBuf {
    Jinja *j;
    char *p;
    uint8_t *by;
    int64_t n, cap;
} TextBuf;
bool text_add(TextBuf *b, Text s);
bool text_put(TextBuf *b, const char *p, int64_t n, int by);
static inline Text text_of(const TextBuf *b) {
    return b->n ? (Text){b->p, b->by, b->n} : (Text){"", (const uint8_t *)"", 0};
}
Text text_cut(Text s, int64_t lo, int64_t hi);
Text text_copy(Jinja *j, Str s, int by);
static inline Str text_str(Text s) { return (Str){s.p, s.n}; }
static inline bool text_is(Text s, const char *z) { return str_eq(text_str(s), str_of(z)); }

static inline Value value_none(void) { return (Value){.kind = VALUE_NONE}; }
static inline Value value_bool(bool b) { return (Value){.kind = VALUE_BOOL, .b = b}; }
static inline Value value_int(int64_t i) { return (Value){.kind = VALUE_INT, .i = i}; }
static inline Value value_float(double f) { return (Value){.kind = VALUE_FLOAT, .f = f}; }
static inline Value value_text(Text s) { /* never with NULL, so that library calls may have it */
    if (!s.p) s = (Text){"", (const uint8_t *)"", 0};
    return (Value){.kind = VALUE_STR, .s = s};
}
static inline Value value_missing(Str name) {
    return (Value){.kind = VALUE_UNDEFINED, .missing = name};
}
Value value_list(Jinja *j, int64_t cap, bool tuple);
bool list_add(Jinja *j, List *l, Value v);
Value value_dict(Jinja *j, int64_t cap, ValueKind kind);
bool dict_put(Jinja *j, Dict *d, Value key, Value v);
Value *dict_find(Jinja *j, const Dict *d, Value key); /* NULL: none */
Value *dict_find_str(Jinja *j, const Dict *d, Str key);

const char *value_kind_name(Value v); /* as Python calls it, for messages */
bool value_true(Value v);
bool value_equal(Jinja *j, Value x, Value y);
/* -1, 0, 1; fails for values without an order. */
int value_order(Jinja *j, Value x, Value y);
bool value_in(Jinja *j, Value x, Value in);
/* What {{ v }} prints, and what repr(v) is. */
bool value_print(TextBuf *b, Value v);
bool value_repr(TextBuf *b, Value v);
Text value_to_text(Jinja *j, Value v);
/* The items that `for` goes through: of lists, strings (characters), dictionaries (keys). */
bool value_items(Jinja *j, Value v, List **out);
int64_t value_length(Jinja *j, Value v); /* -1 and failed: it has none */

typedef struct JsonStyle {
    int64_t indent; /* -1: one line */
    Text item, key; /* separators; p NULL: Python's defaults */
    bool sort_keys, ascii;
} JsonStyle;
bool value_json(TextBuf *b, Value v, const JsonStyle *style);
/* Values of a JSON text; every string in it is BY_MESSAGE. */
bool value_of_json(Jinja *j, Value *out, Str json, const char *what);

/* Characters (code points) of a text. */
int64_t text_length(Text s);
int64_t text_char(Text s, int64_t at); /* bytes of the character at byte `at`; 1 for no UTF-8 */
int64_t text_find(Text s, Text part, int64_t from); /* -1: none */
Text text_escaped(Jinja *j, Text s);                /* & < > ' " as entities of HTML */
bool is_space(Text s, int64_t at, int64_t *bytes);  /* Python's str.isspace of one character */

/* jinja_methods.c */
/* A method of v bound to it, or VALUE_UNDEFINED. */
Value method_of(Jinja *j, Value v, Str name);
bool method_call(Jinja *j, Value *out, const Method *m, Args *args);
/* v.name and v[key], as Jinja finds them. */
Value attr_get(Jinja *j, Value v, Str name);
Value item_get(Jinja *j, Value v, Value key);
/* Argument number `at` or named `name`; `other` where it is not given. The typed ones fail for
 * values of another type. */
Value arg(const Args *args, int64_t at, const char *name, Value other);
Text arg_text(Jinja *j, const Args *args, int64_t at, const char *name, Text other);
int64_t arg_int(Jinja *j, const Args *args, int64_t at, const char *name, int64_t other);
Text want_text(Jinja *j, Value v, const char *who); /* fails, naming who, when v is no string */
/* Without the characters of `set` (white space where it is NULL) at the ends that are asked for. */
Text text_stripped(Text s, const Text *set, bool left, bool right);
/* Unicode's simple mapping: `first` of the first character, `rest` of the others. */
Text text_mapped(Jinja *j, Text s, int32_t (*first)(int32_t), int32_t (*rest)(int32_t));
Text text_titled(Jinja *j, Text s);
Text text_replaced(Jinja *j, Text s, Text from, Text to, int64_t count); /* count < 0: all */
Value pairs_of(Jinja *j, const Dict *d);                                 /* [(key, value), ...] */
Value row_of(Jinja *j, const Value *v, int64_t n);                       /* a new list */

/* jinja_lib.c */
Value function_named(Str name);
bool function_call(Jinja *j, Value *out, int64_t function, Args *args);
bool filter_run(Jinja *j, Value *out, Str name, Value v, Args *args);
bool test_run(Jinja *j, bool *out, Str name, Value v, Args *args);
