/* subtraction.c -- differences of two numbers of up to twelve digits, of any sign. */
#include "tasks/parts.h"

static Str worded(Arena *a, Draws *d, int64_t x, int64_t y) {
    static const char *const wording[] = {"%lld-%lld=", "%lld - %lld", "What is %lld - %lld?",
                                          "%lld 减 %lld 等于多少？"};
    const int64_t which = draw_wording(d, COUNT(wording) + 1);
    if (which == COUNT(wording))
        return str_fmt(a, "Subtract %lld from %lld.", (long long)y, (long long)x);
    return str_fmt(a, wording[which], (long long)x, (long long)y);
}

/* The thought compares the numbers first, whose outcome is the sign, and takes the smaller from the
 * larger one. */
static void draw(Problem *p, Arena *a, Draws *d, int digits) {
    int64_t x, y;
    Buf thought = {.a = a}, steps = {.a = a};
    draw_operands(d, digits, &x, &y);
    think_order(&thought, x, y);
    think_difference(&steps, MAX(x, y), MIN(x, y));
    buf_fmt(&thought, " %.*s", STRF(buf_str(&steps)));
    *p = (Problem){.prompt = worded(a, d, x, y),
                   .thought = buf_str(&thought),
                   .answer = str_fmt(a, "%lld", (long long)(x - y)),
                   .canonical = canonical_pair(a, "subtraction", x, y),
                   .stratum = ""};
}

const Task task_subtraction = {.name = "subtraction",
                               .help = "differences of two numbers, of any sign",
                               .easiest = 1,
                               .hardest = 12,
                               .difficulty = "digits",
                               .draw = draw,
                               .check = check_same};
