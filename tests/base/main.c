/* main.c -- runs the groups of tests of base/, and holds what they share. */
#define _GNU_SOURCE
#include "tests.h"

const char *folder_new(Arena *a) {
    const char *base = os_env("TMPDIR");
    char *path = PUSH(a, char, 4096);
    snprintf(path, 4096, "%s/lisao-base-XXXXXX", base ? base : P_tmpdir);
    assert_non_null(mkdtemp(path));
    return path;
}

void folder_remove(const char *path) {
    Err err = {0};
    if (!os_remove(path, &err)) fail_msg("%s", err.msg);
}

uint32_t process_mode;

int main(void) {
    process_mode = float_mode_enter(); /* all of it must hold under FTZ and DAZ */
    return test_arena() + test_str() + test_digest() + test_team() + test_queue() + test_os()
           + test_log() + test_machine() + test_measure() + test_child() + test_sandbox()
           + test_filter() + test_helper();
}
