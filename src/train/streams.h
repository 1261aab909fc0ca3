/* streams.h -- private to train/: problems of tasks by the name of several (source.c). */
#pragma once
#include "tasks/tasks.h"
#include "train/train.h"

enum { TASKS_MOST = 16 };
/* The tasks of "task:...", which take turns: problem d is number d / n of stream d % n. */
bool task_streams(TaskStream stream[TASKS_MOST], int64_t *n, Arena *a, const char *name,
                  uint64_t seed, bool held_out, Err *err) CHECKED;
