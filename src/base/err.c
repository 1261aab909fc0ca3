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

/* Bytes at p that steer a terminal, or 0: control characters (C1's are U+0080..9F), ends of lines,
 * and what turns the direction of writing (U+2028..E, U+2061..9). */
static int steering(const char *p) {
    unsigned char c = (unsigned char)p[0], d = c ? (unsigned char)p[1] : 0;
    if (c < ' ' || c == 0x7f) return 1;
    if (c == 0xc2 && d >= 0x80 && d < 0xa0) return 2;
    if (c != 0xe2 || (d != 0x80 && d != 0x81)) return 0;
    unsigned char e = (unsigned char)p[2];
    return (d == 0x80 ? e >= 0xa8 && e <= 0xae : e >= 0xa1 && e <= 0xa9) ? 3 : 0;
}

static void tame(char *p) {
    for (; *p; p++)
        for (int n = steering(p); n > 0; n--) p[n - 1] = '?';
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
    tame(err->msg);
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
