/* must.c -- see must.h. */
#include "support/must.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

void must(bool ok, const Err *err) {
    if (!ok) fail_msg("%s", err->msg);
}

void tree_remove(Arena *a, const char *path) {
    Err err = {0};
    Str *name;
    int64_t n = 0;
    if (os_is_dir(path)) must(os_list(a, &name, &n, path, &err), &err);
    for (int64_t i = 0; i < n; i++) tree_remove(a, str_fmt(a, "%s/%.*s", path, STRF(name[i])).p);
    must(os_remove(path, &err), &err);
}
