/* generation.h -- private to cli/: one request of the command line under way in an engine. */
#pragma once
#include "answer/answer.h"
#include "cli/request.h"

/* generation_start for the request, encoded, which stays until finish is set. */
bool request_start(Generation *p, Arena *a, const Bundle *b, Engine *e, const Request *r,
                   Err *err) CHECKED;
/* Steps until the end of all that is in the engine; Ctrl-C and a stdout that takes nothing cancel
 * p. */
bool generation_run(Generation *p, Err *err) CHECKED;
json_t *generation_json(const Generation *p, double load_ms); /* one object of `run --json` */
