/* json_schema.c -- fuzz target: the bytes of a JSON Schema, and of tools where they are a list. */
#include "grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    const Str text = {(const char *)bytes, (int64_t)size};
    if (str_starts(text, STR("[")))
        for (int i = 0; i < 2; i++)
            grammar_try(text, (GrammarSpec){.kind = GRAMMAR_CALLS,
                                            .syntax = i ? TOOLS_DEEPSEEK : TOOLS_QWEN,
                                            .must_call = true,
                                            .many = i == 1});
    grammar_try(text, (GrammarSpec){.kind = GRAMMAR_SCHEMA, .thoughts = size % 2});
    return 0;
}
