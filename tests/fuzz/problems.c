/* problems.c -- fuzz target: the bytes of a JSONL file of problems. Each that is read has a
 * question and an answer that its own check takes; what is refused names the file. */
#include "tasks/parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    const Task *t;
    Err err = {0};
    if (!a) a = arena_open("problems", (int64_t)1 << 30);
    const Mark mark = arena_mark(a);
    const bool ok =
        task_from_lines(&t, a, (Str){(const char *)bytes, (int64_t)size}, "in.jsonl", &err);
    CHECK(ok == (err.code == ERR_NONE));
    CHECK(ok || strstr(err.msg, "in.jsonl"));
    for (int64_t i = 0; ok && i < t->reads; i++) {
        const Problem *p = &t->read[i];
        CHECK(p->prompt.n > 0 && task_check(t, p, p->answer));
        CHECK(!p->thought.n || !memchr(p->thought.p, '\n', (size_t)p->thought.n));
        CHECK(!task_check(t, p, str_fmt(a, "%.*s %.*s", STRF(p->answer), STRF(p->answer))));
    }
    arena_pop(a, mark);
    return 0;
}
