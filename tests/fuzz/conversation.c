/* conversation.c -- fuzz target: a line of a .jsonl of conversations, the first byte choosing a
 * template. What comes out are documents that end with what is learned, or an Err that names the
 * line. */
#include "data/conversation.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Calls and tools as JSON, thoughts in front of the content only; and thoughts of the last
 * answer. */
static const char *const chat_template[] = {
    "{{ tools | tojson }}{%- for m in messages -%}"
    "{{ '<|assistant|>' if m.role == 'assistant' else '<|user|>' }}{{ m.content }}"
    "{{ m.tool_calls | tojson if m.tool_calls }}<|end|>\n{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}",
    "{%- for m in messages -%}{{ '<|assistant|>' if m.role == 'assistant' else '<|user|>' }}"
    "{%- if m.reasoning_content and loop.last -%}<think>{{ m.reasoning_content }}</think>{%- endif "
    "-%}{{ m.content }}<|end|>{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"};

static Tokenizer *tok;
static Chat chat[2];

static Arena *opened(void) {
    Arena *a = arena_open("conversations", (int64_t)1 << 32);
    Err err = {0};
    CHECK(tokenizer_open_json(&tok, a, byte_tokenizer_json(a), "bytes", &err));
    for (int i = 0; i < 2; i++)
        CHECK(chat_init(&chat[i], a, tok, str_of(chat_template[i]), STR(""), STR("<|end|>"), &err));
    return a;
}

static void documents_check(const Tokens *t) {
    int64_t from = 0, end;
    CHECK(t->learned.n == t->id.n && t->end.n > 0);
    for (int64_t d = 0; d < t->end.n / 8; d++, from = end) {
        memcpy(&end, t->end.p + d * 8, 8);
        CHECK(end >= from + 2 && t->learned.p[end - 1] == 1);
        for (int64_t i = from; i < end; i++)
            CHECK(t->id.v[i] >= 0 && t->id.v[i] < tokenizer_size(tok));
    }
    CHECK(from == t->id.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a, *out, *scratch;
    if (size == 0) return 0;
    if (!a) {
        a = opened();
        out = arena_open("tokens", (int64_t)1 << 32);
        scratch = arena_open("scratch", (int64_t)1 << 32);
    }
    const Mark mark = arena_mark(a), empty = arena_mark(out);
    Conversation c;
    Tokens t = tokens_in(out);
    Err err = {0};
    if (conversation_read(&c, a, (Str){(const char *)bytes + 1, (int64_t)size - 1}, "file", 7,
                          &err)) {
        CHECK(c.n > 0 && err.code == ERR_NONE);
        if (conversation_put(&t, &c, &chat[bytes[0] & 1], a, scratch, &err)) documents_check(&t);
        json_decref(c.json);
    } else
        CHECK(str_starts(str_of(err.msg), STR("file, line 7: ")));
    arena_pop(a, mark);
    arena_pop(out, empty);
    return 0;
}
