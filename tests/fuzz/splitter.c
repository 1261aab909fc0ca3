/* splitter.c -- fuzz target: what a model generates, after a byte that chooses the syntax of its
 * tool calls and a stop string. However it comes in pieces, the same comes out; each call is one
 * line of JSON. */
#include "text/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

typedef struct Parts {
    Buf reasoning, answer, calls;
} Parts;

static void run(Parts *to, Arena *a, Str text, int64_t step, uint8_t choice) {
    static const Str stop[] = {STR("\n\n"), STR("</th"), STR("aab")};
    Splitter s;
    Stops stops;
    Err err = {0};
    Buf passed = {.a = a};
    *to = (Parts){{.a = a}, {.a = a}, {.a = a}};
    const SplitText out = {&to->reasoning, &to->answer, &to->calls};
    CHECK(stops_init(&stops, stop, choice & 4 ? COUNT(stop) : 0, &err));
    splitter_init(&s, choice & 8, (ToolSyntax)(choice % 3));
    for (int64_t i = 0; i < text.n; i += step) {
        passed.n = 0;
        stops_push(&stops, (Str){text.p + i, MIN(step, text.n - i)}, &passed);
        splitter_push(&s, buf_str(&passed), &out);
    }
    passed.n = 0;
    stops_end(&stops, &passed);
    splitter_push(&s, buf_str(&passed), &out);
    splitter_end(&s, &out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    if (size < 1) return 0;
    if (!a) a = arena_open("splitter", (int64_t)1 << 32);
    Mark mark = arena_mark(a);
    Str text = {(const char *)bytes + 1, (int64_t)size - 1};
    Parts whole, pieces;
    run(&whole, a, text, MAX(text.n, 1), bytes[0]);
    run(&pieces, a, text, 1 + bytes[0] % 7, bytes[0]);
    CHECK(str_eq(buf_str(&whole.reasoning), buf_str(&pieces.reasoning)));
    CHECK(str_eq(buf_str(&whole.answer), buf_str(&pieces.answer)));
    CHECK(str_eq(buf_str(&whole.calls), buf_str(&pieces.calls)));
    CHECK(whole.calls.n == 0 || str_starts(buf_str(&whole.calls), STR("{\"name\":")));
    CHECK(whole.calls.n == 0 || str_ends(buf_str(&whole.calls), STR("\n")));
    arena_pop(a, mark);
    return 0;
}
