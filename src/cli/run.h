/* run.h -- private to cli/: `lisao run --jsonl`. */
#pragma once
#include "cli/request.h"

/* Answers the requests of standard input, each of them `context` tokens at most. no_chat: why the
 * model has no chat format, if it has none; start: when loading began. */
bool lines_run(Session *s, PlanSpec *plan, const RequestOpts *defaults, const Err *no_chat,
               int64_t context, double start, Err *err) CHECKED;
