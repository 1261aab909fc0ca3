/* space.c -- memory that is counted before it is taken (parts.h). */
#include "infer/parts.h"

/* The sum rounds as an arena does, so that what is counted is what an arena takes. */
void *space_take(Space *s, int64_t bytes) {
    CHECK(bytes >= 0);
    s->bytes += round_up(bytes, 64);
    return s->a ? arena_push(s->a, bytes) : NULL;
}
