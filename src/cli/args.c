/* args.c -- command lines: one table gives the parser, --help and the man page.
 *
 * A name of one letter is written with one dash (-o FILE), a longer one with two (--act f32,
 * --act=f32). The value of an option never begins with "--" and a letter, unless it is written
 * behind "=": so a forgotten value is noticed and --help is found wherever it stands. */
#include "cli/args.h"
#include <stdio.h>

enum { OPTS_MAX = 64 };

static const char *dashes(const Opt *o) { return o->name[1] ? "--" : "-"; }

static bool is_option(const char *z) {
    if (z[0] != '-' || z[1] == 0) return false;
    char c = z[1] == '-' ? z[2] : z[1]; /* "-1" is a number, "--" alone ends the options */
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_long(const char *z) { return is_option(z) && z[1] == '-'; }

/* ---- values ---------------------------------------------------------------------------------- */

/* True if v is one of the words of "f32|a16|a8". */
static bool is_choice(Str v, const char *choices) {
    for (const char *c = choices; *c;) {
        int64_t n = (int64_t)strcspn(c, "|");
        if (str_eq(v, (Str){c, n})) return true;
        c += n + (c[n] == '|');
    }
    return false;
}

static bool out_of_range(const Opt *o, double v) {
    return !(o->lo == 0 && o->hi == 0) && !(v >= o->lo && v <= o->hi);
}

static bool bad_number(const Opt *o, const char *value, Err *err) {
    const char *kind = o->kind == OPT_I64 ? "a whole number" : "a number";
    if (o->lo == 0 && o->hi == 0)
        return err_set(err, ERR_USAGE, "%s%s must be %s, not '%s'", dashes(o), o->name, kind,
                       value);
    return err_set(err, ERR_USAGE, "%s%s must be %s from %.10g to %.10g, not '%s'", dashes(o),
                   o->name, kind, o->lo, o->hi, value);
}

bool opt_set(const Opt *o, const char *value, Err *err) {
    Str v = str_of(value);
    int64_t whole;
    double number;
    switch (o->kind) {
    case OPT_FLAG: return false; /* has no value: opt_take */
    case OPT_I64:
        if (!str_i64(v, &whole) || out_of_range(o, (double)whole)) return bad_number(o, value, err);
        *(int64_t *)o->to = whole;
        return true;
    case OPT_F64:
        if (!str_f64(v, &number) || out_of_range(o, number)) return bad_number(o, value, err);
        *(double *)o->to = number;
        return true;
    case OPT_STR:
        if (strchr(o->arg, '|') && !is_choice(v, o->arg))
            return err_set(err, ERR_USAGE, "%s%s must be one of %s, not '%s'", dashes(o), o->name,
                           o->arg, value);
        *(const char **)o->to = value;
        return true;
    case OPT_LIST:;
        OptList *list = o->to;
        if (list->n == COUNT(list->v))
            return err_set(err, ERR_USAGE, "%s%s can be given %d times at most", dashes(o), o->name,
                           (int)COUNT(list->v));
        list->v[list->n++] = value;
        return true;
    }
    return false;
}

/* ---- parsing --------------------------------------------------------------------------------- */

static bool unknown(const Command *c, const char *given, Str name, Err *err) {
    const char *names[OPTS_MAX + 1] = {"help"};
    for (int64_t i = 0; i < c->n_opts; i++) names[i + 1] = c->opts[i].name;
    const char *near = str_nearest(name, names, c->n_opts + 1);
    if (!near) return err_set(err, ERR_USAGE, "%s has no option %s", c->name, given);
    return err_set(err, ERR_USAGE, "%s has no option %s; is %s%s meant?", c->name, given,
                   near[1] ? "--" : "-", near);
}

static bool is_named(const Opt *o, Str name) {
    return str_eq(name, str_of(o->name)) || (o->brief && str_eq(name, str_of(o->brief)));
}

/* argv[*i] is an option; *i moves on to its value if that stands apart. */
static bool opt_take(const Command *c, int argc, char **argv, int *i, bool *seen, Err *err) {
    const char *given = argv[*i], *body = given + (given[1] == '-' ? 2 : 1);
    const char *equals = strchr(body, '=');
    Str name = {body, equals ? equals - body : (int64_t)strlen(body)};
    int64_t at = 0;
    while (at < c->n_opts && !is_named(&c->opts[at], name)) at++;
    /* One dash before one letter; before a name that is one letter two are as good. */
    const bool two = given[1] == '-', fits = name.n == 1 || two;
    if (at == c->n_opts || !fits
        || (two && c->opts[at].brief && str_eq(name, str_of(c->opts[at].brief))))
        return unknown(c, given, name, err);

    const Opt *o = &c->opts[at];
    if (seen[at] && o->kind != OPT_LIST)
        return err_set(err, ERR_USAGE, "%s%s is given twice", dashes(o), o->name);
    seen[at] = true;
    if (o->kind == OPT_FLAG) {
        if (equals) return err_set(err, ERR_USAGE, "%s%s takes no value", dashes(o), o->name);
        *(bool *)o->to = true;
        return true;
    }
    const char *value = equals ? equals + 1 : NULL;
    if (!value) {
        if (*i + 1 == argc || is_long(argv[*i + 1]))
            return err_set(err, ERR_USAGE,
                           "%s%s needs a value: %s (one that begins with dashes: %s%s=...)",
                           dashes(o), o->name, o->arg, dashes(o), o->name);
        value = argv[++*i];
    }
    return opt_set(o, value, err);
}

static bool wants_help(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return true;
    return false;
}

bool opt_parse(const Command *c, int *argc, char **argv, bool *helped, Err *err) {
    bool given[OPTS_MAX] = {0};
    CHECK(c->n_opts <= OPTS_MAX);
    return opt_parse_given(c, argc, argv, given, helped, err);
}

bool opt_parse_given(const Command *c, int *argc, char **argv, bool *given, bool *helped,
                     Err *err) {
    bool options = true;
    int n = 1;
    *helped = wants_help(*argc, argv); /* before the defaults in the table are changed */
    if (*helped) {
        Arena *a = arena_open("help", 1 << 20);
        Buf text = {.a = a};
        opt_help(c, &text);
        fwrite(text.p, 1, (size_t)text.n, stdout);
        arena_close(a);
        return true;
    }
    for (int i = 1; i < *argc; i++) {
        if (options && !strcmp(argv[i], "--"))
            options = false;
        else if (!options || !is_option(argv[i]))
            argv[n++] = argv[i];
        else if (!opt_take(c, *argc, argv, &i, given, err))
            return false;
    }
    *argc = n;
    return true;
}

/* ---- help ------------------------------------------------------------------------------------ */

enum { WIDTH = 80, COLUMN = 26 };

/* Words of s from column `at`, broken before WIDTH, further lines indented; newlines of s are
 * kept. */
static void wrap(Buf *out, const char *s, int64_t indent, int64_t at) {
    while (*s) {
        int64_t n = (int64_t)strcspn(s, " \n");
        if (at > indent && at + 1 + n >= WIDTH) {
            buf_fmt(out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (at > indent && n) {
            buf_add(out, STR(" "));
            at++;
        }
        buf_add(out, (Str){s, n});
        at += n;
        s += n;
        if (*s == '\n') {
            buf_fmt(out, "\n%*s", s[1] && s[1] != '\n' ? (int)indent : 0, "");
            at = indent;
        }
        if (*s) s++;
    }
    buf_add(out, STR("\n"));
}

static double opt_number(const Opt *o) {
    return o->kind == OPT_I64 ? (double)*(int64_t *)o->to : *(double *)o->to;
}

/* "(1 to 64; default 4)" or "". */
static void opt_limits(const Opt *o, Buf *out) {
    const char *open = " (", *text = o->kind == OPT_STR ? *(const char **)o->to : NULL;
    bool number = o->kind == OPT_I64 || o->kind == OPT_F64;
    if (o->kind == OPT_LIST) buf_add(out, STR(" (may be repeated)"));
    if (number && out_of_range(o, opt_number(o))) {
        buf_fmt(out, " (%.10g to %.10g)", o->lo, o->hi);
        return;
    }
    if (number && (o->lo != 0 || o->hi != 0)) {
        buf_fmt(out, " (%.10g to %.10g", o->lo, o->hi);
        open = "; ";
    }
    if (o->kind == OPT_I64) buf_fmt(out, "%sdefault %lld)", open, (long long)*(int64_t *)o->to);
    if (o->kind == OPT_F64) buf_fmt(out, "%sdefault %.10g)", open, *(double *)o->to);
    if (text && *text) buf_fmt(out, " (default %s)", text);
}

void opt_help(const Command *c, Buf *out) {
    buf_fmt(out, "lisao %s - %s\n\nUsage: lisao %s%s%s%s\n\n", c->name, c->summary, c->name,
            c->n_opts ? " [options]" : "", *c->args ? " " : "", c->args);
    wrap(out, c->text, 0, 0);
    buf_add(out, STR("\nOptions:\n"));
    for (int64_t i = 0; i < c->n_opts; i++) {
        const Opt *o = &c->opts[i];
        int64_t start = out->n;
        buf_add(out, STR("  "));
        if (o->brief) buf_fmt(out, "-%s, ", o->brief);
        buf_fmt(out, "%s%s%s%s", dashes(o), o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        int64_t at = out->n - start;
        if (at + 2 > COLUMN) buf_add(out, STR("\n")), at = 0;
        buf_fmt(out, "%*s", (int)(COLUMN - at), "");
        Buf help = {.a = out->a};
        buf_add(&help, str_of(o->help));
        opt_limits(o, &help);
        wrap(out, help.p, COLUMN, COLUMN);
    }
    buf_fmt(out, "  %-*s%s\n", COLUMN - 2, "--help, -h", "Print this help and exit.");
    if (c->examples && *c->examples) buf_fmt(out, "\nExamples:\n%s", c->examples);
}

/* ---- the man page ---------------------------------------------------------------------------- */

/* Text for man(7): backslashes and dashes escaped, a line never begins with a control character. */
static void man_text(Buf *out, const char *s) {
    for (char last = '\n'; *s; last = *s++) {
        if (last == '\n' && (*s == '.' || *s == '\'')) buf_add(out, STR("\\&"));
        if (*s == '\\')
            buf_add(out, STR("\\e"));
        else if (*s == '-')
            buf_add(out, STR("\\-"));
        else
            buf_add(out, (Str){s, 1});
    }
}

void opt_man(const Command *c, Buf *out) {
    buf_fmt(out, ".SS lisao %s %s\n", c->name, c->args);
    man_text(out, c->summary);
    buf_add(out, STR(".\n.PP\n"));
    man_text(out, c->text);
    buf_add(out, STR("\n"));
    for (int64_t i = 0; i < c->n_opts; i++) {
        const Opt *o = &c->opts[i];
        buf_add(out, STR(".TP\n\\fB"));
        if (o->brief) buf_fmt(out, "\\-%s\\fR, \\fB", o->brief);
        man_text(out, dashes(o));
        man_text(out, o->name);
        buf_add(out, STR("\\fR"));
        if (o->arg) buf_fmt(out, " \\fI%s\\fR", o->arg);
        buf_add(out, STR("\n"));
        Buf help = {.a = out->a};
        buf_add(&help, str_of(o->help));
        opt_limits(o, &help);
        man_text(out, help.p);
        buf_add(out, STR("\n"));
    }
    if (!c->examples || !*c->examples) return;
    buf_add(out, STR(".PP\nExamples:\n.PP\n.EX\n"));
    man_text(out, c->examples);
    buf_add(out, STR(".EE\n"));
}
