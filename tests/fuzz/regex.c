/* regex.c -- fuzz target: the bytes of a regular expression. */
#include "grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    grammar_try((Str){(const char *)bytes, (int64_t)size}, (GrammarSpec){.kind = GRAMMAR_REGEX});
    return 0;
}
