/* waiting.c -- the prompts of requests that wait.
 *
 * A queue may hold a thousand requests of 100,000 tokens each, or of ten. A table of the longest
 * sequence for each would take half a gigabyte and stay empty most of the time. So the prompts that
 * wait share one store, whose size is a bound on all their tokens together (EngineSpec), and a
 * sequence gets a table of its own when it becomes active.
 *
 * Requests leave the queue in any order, by priority or because they are cancelled. The store is
 * therefore cut into small blocks that are linked, and a prompt is a chain of them: taking and
 * giving back cost one walk over the prompt, nothing is ever moved, and nothing is lost between
 * prompts but the rest of each one's last block, for which a block a prompt is added. */
#include "infer/parts.h"

enum { BLOCK = 64 }; /* tokens: a short chat message wastes little, a long prompt has few links */

struct Prompts {
    int32_t *token; /* (blocks, BLOCK) */
    int32_t *next;  /* (blocks) the block behind each, of a prompt or of the free ones */
    int32_t free;   /* the first free block */
    int64_t room;   /* tokens that may still come */
};

static int64_t blocks_of(int64_t tokens) { return (tokens + BLOCK - 1) / BLOCK; }

Prompts *prompts_build(Space *s, int64_t tokens, int64_t prompts) {
    int64_t blocks = blocks_of(tokens) + prompts;
    CHECK(blocks < INT32_MAX);
    Prompts *p = TAKE(s, Prompts, 1);
    int32_t *token = TAKE(s, int32_t, blocks * BLOCK), *next = TAKE(s, int32_t, blocks);
    if (!p) return NULL;
    *p = (Prompts){.token = token, .next = next, .room = tokens};
    for (int64_t i = 0; i < blocks; i++) next[i] = (int32_t)(i + 1);
    return p;
}

int64_t prompts_room(const Prompts *p) { return p->room; }

int64_t prompt_put(Prompts *p, const int32_t *token, int64_t n) {
    CHECK(n > 0 && n <= p->room);
    int32_t first = p->free;
    for (int64_t at = 0; at < n; at += BLOCK) {
        memcpy(p->token + (int64_t)p->free * BLOCK, token + at,
               (size_t)MIN(n - at, BLOCK) * sizeof *token);
        p->free = p->next[p->free];
    }
    p->room -= n;
    return first;
}

void prompt_read(const Prompts *p, int64_t prompt, int32_t *token, int64_t n) {
    for (int64_t at = 0; at < n; at += BLOCK, prompt = p->next[prompt])
        memcpy(token + at, p->token + prompt * BLOCK, (size_t)MIN(n - at, BLOCK) * sizeof *token);
}

/* The chain as it is goes in front of the free blocks. */
void prompt_drop(Prompts *p, int64_t prompt, int64_t n) {
    int64_t last = prompt;
    for (int64_t i = 1; i < blocks_of(n); i++) last = p->next[last];
    p->next[last] = p->free;
    p->free = (int32_t)prompt;
    p->room += n;
}
