/* main.c -- runs the groups of tests of data/, and keeps what they share. */
#include "tests.h"

int64_t dice(int64_t n) {
    static uint64_t thrown;
    return (int64_t)(philox(5, thrown++, 0).w[0] % (uint64_t)n);
}

int arena_setup(void **state) {
    *state = arena_open("test", (int64_t)1 << 36);
    return 0;
}

int arena_teardown(void **state) {
    arena_close(*state);
    return 0;
}

void file_write(Arena *a, const char *path, Str bytes) {
    Err err = {0};
    OutFile *o = os_create(a, path, &err);
    CHECK(o && os_write(o, bytes.p, bytes.n, &err) && os_commit(o, &err));
}

int main(void) {
    log_set(LOG_ERROR);
    float_mode_enter();
    return (shard_tests() + loader_tests() + texts_tests() + made_tests() + conversation_tests())
           != 0;
}
