/* err.c -- the two kinds of error: programmers' mistakes (CHECK, aborts) and everything outside of
 * the program (Err, returned). */
#include "base/base.h"
#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *file, int line, const char *what) {
    fprintf(stderr, "lisao: %s:%d: CHECK(%s) failed; this is a defect of the program\n", file, line,
            what);
    fflush(stderr);
    abort();
}

/* Messages contain names and texts from files, so control characters are replaced: none may reach a
 * terminal. */
bool err_set(Err *err, ErrCode code, const char *fmt, ...) {
    CHECK(code != ERR_NONE);
    if (err->code != ERR_NONE) return false;
    err->code = code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    for (char *p = err->msg; *p; p++)
        if ((*p > 0 && *p < ' ') || *p == 0x7f) *p = '?';
    return false;
}

int err_exit_code(const Err *err) {
    switch (err->code) {
    case ERR_NONE: return 0;
    case ERR_USAGE: return 2;
    case ERR_INTERRUPTED: return 130;
    default: return 1;
    }
}
