/* tests.h -- shared by the tests of base/: cmocka, the groups, a folder to write in. */
#pragma once
#include "base/base.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "support/child.h"
#include "support/need.h"

int test_arena(void), test_str(void), test_digest(void), test_team(void);
int test_queue(void), test_os(void), test_log(void), test_machine(void);
int test_measure(void), test_child(void), test_sandbox(void), test_filter(void);
int test_helper(void);

extern uint32_t process_mode; /* as the process was started with */

/* A new empty folder; folder_remove takes it and its files away. */
const char *folder_new(Arena *a);
void folder_remove(const char *path);
