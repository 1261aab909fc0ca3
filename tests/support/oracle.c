/* oracle.c -- finds the reference models; tests run in the root of the repository. */
#include "support/oracle.h"

const char *oracle_model(Arena *a, const char *name) {
    const char *shared = os_env("LISAO_SHARED");
    const Str path[] = {str_fmt(a, "tests/golden/models/%s", name),
                        str_fmt(a, "%s/oracles/models/%s", shared ? shared : "../shared", name)};
    for (int64_t i = 0; i < COUNT(path); i++)
        if (os_exists(path[i].p)) return path[i].p;
    return NULL;
}
