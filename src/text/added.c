/* added.c -- added tokens: words of the vocabulary that are looked for in a text before anything
 * else is done with it. A trie, with children as linked lists, is walked from each position where a
 * token can begin; as contents have a largest length (ADDED_LENGTH_MAX), that is linear in the
 * text. */
#include "text/tokenizer.h"

bool trie_init(Trie *t, Arena *a, int64_t bytes) {
    *t = (Trie){.n = 1, .cap = bytes + 1};
    t->nodes = arena_try(a, t->cap * (int64_t)sizeof(TrieNode));
    if (t->nodes) t->nodes[0].id = -1;
    return t->nodes != NULL;
}

static uint32_t child_of(const Trie *t, uint32_t node, uint8_t byte) {
    uint32_t k = t->nodes[node].child;
    while (k != 0 && t->nodes[k].byte != byte) k = t->nodes[k].sibling;
    return k;
}

void trie_put(Trie *t, Str content, int32_t id) {
    uint32_t node = 0;
    CHECK(content.n > 0);
    t->first[(uint8_t)content.p[0]] = true;
    for (int64_t i = 0; i < content.n; i++) {
        uint8_t byte = (uint8_t)content.p[i];
        uint32_t k = child_of(t, node, byte);
        if (k == 0) {
            CHECK(t->n < t->cap);
            k = (uint32_t)t->n++;
            t->nodes[k] = (TrieNode){.sibling = t->nodes[node].child, .id = -1, .byte = byte};
            t->nodes[node].child = k;
        }
        node = k;
    }
    if (t->nodes[node].id < 0) t->nodes[node].id = id;
}

int64_t trie_longest(const Trie *t, Str text, int32_t *id) {
    int64_t len = 0;
    uint32_t node = 0;
    for (int64_t i = 0; i < text.n; i++) {
        node = child_of(t, node, (uint8_t)text.p[i]);
        if (node == 0) break;
        if (t->nodes[node].id >= 0) *id = t->nodes[node].id, len = i + 1;
    }
    return len;
}

bool trie_find(const Trie *t, Str text, const uint8_t *by, int64_t from, int64_t *at, int64_t *len,
               int32_t *id) {
    int64_t end = by ? from : text.n; /* of the run of zeros in `by` that i stands in */
    for (int64_t i = from; i < text.n; i++) {
        if (by && by[i]) continue;
        if (!t->first[(uint8_t)text.p[i]]) continue;
        if (end <= i) end = i;
        while (by && end < text.n && !by[end]) end++;
        *len = trie_longest(t, (Str){text.p + i, end - i}, id);
        if (*len == 0) continue;
        *at = i;
        return true;
    }
    return false;
}
