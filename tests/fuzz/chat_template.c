/* chat_template.c -- fuzz target: a chat template, up to a byte 0, and behind it the JSON of a
 * conversation (or a small one of ours). Whatever comes in, it ends soon, with a text whose every
 * character has an origin, or with an Err. */
#include "text/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define CONVERSATION                                                                               \
    "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", "            \
    "\"content\": \"a <b>\\n\\u4f60\"}, {\"role\": \"assistant\", \"content\": \"x\", "            \
    "\"reasoning_content\": \"r\", \"tool_calls\": [{\"function\": {\"name\": \"f\", "             \
    "\"arguments\": {\"k\": [1, 2.5, null]}}}]}], \"tools\": [{\"type\": \"function\"}], "         \
    "\"add_generation_prompt\": true}"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    if (!a) a = arena_open("template", (int64_t)1 << 32);
    Mark mark = arena_mark(a);
    const uint8_t *zero = size ? memchr(bytes, 0, size) : NULL;
    Str source = {(const char *)bytes, zero ? zero - bytes : (int64_t)size},
        json = STR(CONVERSATION);
    if (zero) json = (Str){(const char *)zero + 1, (int64_t)size - source.n - 1};
    Err err = {0};
    const Node *tree = jinja_parse(a, source, "input", &err);
    CHECK((tree != NULL) == (err.code == ERR_NONE));
    Jinja j;
    Scope root;
    Value v;
    Text out = {0};
    jinja_init(&j, &root, a, "input", 1782907200, &err);
    j.steps = 200000, j.bytes = 32 << 20;
    if (tree && value_of_json(&j, &v, json, "variables") && v.kind == VALUE_DICT) {
        for (int64_t i = 0; i < v.dict->n; i++)
            name_set(&j, text_str(v.dict->key[i].s), v.dict->value[i]);
        bool ok = jinja_run(&j, &out, tree);
        CHECK(ok == (err.code == ERR_NONE));
        for (int64_t i = 0; ok && i < out.n; i++)
            CHECK(out.by[i] == BY_TEMPLATE || out.by[i] == BY_MESSAGE);
    }
    arena_pop(a, mark);
    return 0;
}
