/* texts.c -- fuzz target: the bytes of a text, of lines of JSON (first byte odd), as they are or
 * packed. What is read are documents without a line break at their ends; nothing else happens. */
#define _GNU_SOURCE
#include "data/data.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static char folder[] = "/tmp/lisao-fuzz-XXXXXX";
static char path[2][64];

static void clean_up(void) {
    for (int i = 0; i < 2; i++) unlink(path[i]);
    rmdir(folder);
}

static void fill(const char *file, const uint8_t *bytes, size_t size) {
    FILE *f = fopen(file, "wb");
    CHECK(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    if (!a) {
        a = arena_open("texts", (int64_t)1 << 30);
        CHECK(mkdtemp(folder));
        snprintf(path[0], sizeof path[0], "%s/a.txt", folder);
        snprintf(path[1], sizeof path[1], "%s/a.jsonl", folder);
        atexit(clean_up);
        log_set(LOG_ERROR);
    }
    if (size == 0) return 0;
    const char *file = path[bytes[0] & 1];
    fill(file, bytes + 1, size - 1);
    const Mark mark = arena_mark(a);
    Err err = {0};
    Texts *t = NULL;
    TextUnit unit[4];
    int64_t n = -1;
    if (texts_open(&t, a, file, "--", "text", &err))
        while ((n = texts_next(t, unit, COUNT(unit), 1 << 16, &err)) > 0)
            for (int64_t i = 0; i < n; i++) CHECK(unit[i].text.n > 0 && unit[i].text.n <= 1 << 20);
    CHECK((n < 0) == (err.code != ERR_NONE));
    CHECK(n == 0 || strstr(err.msg, file));
    texts_close(t);
    arena_pop(a, mark);
    return 0;
}
