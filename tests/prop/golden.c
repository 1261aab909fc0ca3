/* golden.c -- the committed hashes: what every machine and compiler must meet. */
#include "prop.h"

#include <stdio.h>

static const char *const PATH = "tests/golden/hashes.txt";

void golden_load(Golden *g) {
    FILE *f = fopen(PATH, "r");
    char line[256], key[96], hex[65];
    g->n = 0;
    if (!f) return;
    while (fgets(line, sizeof line, f))
        if (line[0] != '#' && sscanf(line, "%95s %64s", key, hex) == 2) golden_put(g, key, hex);
    fclose(f);
}

static int64_t golden_at(const Golden *g, const char *key) {
    int64_t i = 0;
    while (i < g->n && strcmp(g->line[i].key, key) != 0) i++;
    return i;
}

const char *golden_find(const Golden *g, const char *key) {
    int64_t i = golden_at(g, key);
    return i < g->n ? g->line[i].hex : NULL;
}

void golden_put(Golden *g, const char *key, const char *hex) {
    int64_t i = golden_at(g, key);
    CHECK(i < COUNT(g->line));
    snprintf(g->line[i].key, sizeof g->line[i].key, "%s", key);
    snprintf(g->line[i].hex, sizeof g->line[i].hex, "%s", hex);
    if (i == g->n) g->n++;
}

bool golden_save(const Golden *g, Err *err) {
    Arena *a = arena_open("golden", 1 << 20);
    Buf b = {.a = a};
    buf_fmt(&b, "# SHA-256 of five draws (logits, token, log-probability) after a prompt: "
                "model/act/mla/kv/tokens. "
                "Written by `make golden`.\n");
    for (int64_t i = 0; i < g->n; i++) buf_fmt(&b, "%s %s\n", g->line[i].key, g->line[i].hex);
    OutFile *f = os_create(a, PATH, err);
    bool ok = f && os_write(f, b.p, b.n, err) && os_commit(f, err);
    arena_close(a);
    return ok;
}
