/* addition.c -- sums of two numbers of up to twelve digits. */
#include "tasks/parts.h"

static Str worded(Arena *a, Draws *d, int64_t x, int64_t y) {
    static const char *const wording[] = {
        "%lld+%lld=",
        "%lld + %lld",
        "What is %lld + %lld?",
        "Add %lld and %lld.",
        "%lld 加 %lld 等于多少？",
    };
    return str_fmt(a, wording[draw_wording(d, COUNT(wording))], (long long)x, (long long)y);
}

static void draw(Problem *p, Arena *a, Draws *d, int digits) {
    int64_t x, y;
    Buf thought = {.a = a};
    draw_operands(d, digits, &x, &y);
    think_sum(&thought, x, y);
    *p = (Problem){.prompt = worded(a, d, x, y),
                   .thought = buf_str(&thought),
                   .answer = str_fmt(a, "%lld", (long long)(x + y)),
                   .canonical = canonical_pair(a, "addition", x, y),
                   .stratum = ""};
}

const Task task_addition = {.name = "addition",
                            .help = "sums of two numbers",
                            .easiest = 1,
                            .hardest = 12,
                            .difficulty = "digits",
                            .draw = draw,
                            .check = check_same};
