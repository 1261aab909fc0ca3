/* args.h -- private to cli/: command lines. One table of options gives the parser, --help and the
 * man page. */
#pragma once
#include "base/base.h"

typedef enum OptKind { OPT_FLAG, OPT_STR, OPT_I64, OPT_F64, OPT_LIST } OptKind;
typedef struct OptList {
    const char *v[64];
    int64_t n;
} OptList;
typedef struct Opt {
    OptKind kind;
    const char *name;  /* "max-tokens": --max-tokens N or --max-tokens=N; "o": -o FILE, --o FILE */
    const char *arg;   /* "N", "FILE"; a choice "f32|a16" is enforced; NULL for a flag */
    void *to;          /* bool, const char*, int64_t, double, OptList; holds the default: a number
                          out of the bounds is none, and help does not tell it */
    const char *help;  /* one or two sentences */
    double lo, hi;     /* inclusive bounds of a number; both 0: any */
    const char *brief; /* "t": -t N beside --threads N; NULL: none */
} Opt;
typedef struct Command {
    const char *name, *args, *summary; /* "run", "MODEL [TEXT]", one line */
    const char *text;                  /* what it does, for --help and the man page */
    const char *examples;              /* "lisao run ...\n" lines */
    const Opt *opts;
    int64_t n_opts;
} Command;
/* Parses argv[1..]; operands stay in argv[1..*argc-1]. "--" ends options. Unknown, missing,
 * doubled or out-of-range: ERR_USAGE with the nearest name. --help prints and sets *helped. */
bool opt_parse(const Command *c, int *argc, char **argv, bool *helped, Err *err) CHECKED;
/* The same; given[i] (n_opts) is set where option i was there. */
bool opt_parse_given(const Command *c, int *argc, char **argv, bool *given, bool *helped,
                     Err *err) CHECKED;
/* Sets *o->to as if the option had been given with this value. Not for a flag. */
bool opt_set(const Opt *o, const char *value, Err *err) CHECKED;
void opt_help(const Command *c, Buf *out); /* text for a terminal */
void opt_man(const Command *c, Buf *out);  /* one section of the man page, in man(7) */
