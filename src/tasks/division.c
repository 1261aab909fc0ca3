/* division.c -- quotients without remainder: a dividend of up to six digits by a number of one
 * digit, or, from four digits on, of one or two.
 *
 * A thought divides as it is done on paper, the first digits first. "73-72=1:9": of 73 the largest
 * multiple of the divisor is taken, 1 is left, and 9 is the quotient's digit. What is left and the
 * next digit of the dividend make the next number. Where the divisor has two digits its multiples
 * come first, "1:23 2:46 3:69", each the one before it and the divisor. */
#include "tasks/parts.h"

static Str worded(Arena *a, Draws *d, int64_t x, int64_t y) {
    static const char *const wording[] = {
        "%lld/%lld=",
        "%lld / %lld",
        "What is %lld / %lld?",
        "Divide %lld by %lld.",
        "%lld 除以 %lld 等于多少？",
    };
    return str_fmt(a, wording[draw_wording(d, COUNT(wording))], (long long)x, (long long)y);
}

static void think(Buf *b, int64_t x, int64_t y) {
    int64_t place = 1; /* of the last digit of x that is looked at */
    for (int64_t i = 1; y >= 10 && i <= 9; i++)
        buf_fmt(b, "%lld:%lld ", (long long)i, (long long)(i * y));
    while (x / place >= (y < 10 ? 10 : 100)) place *= 10;
    for (int64_t now = x / place;; now = now % y * 10 + x / place % 10) {
        const int64_t digit = now / y;
        buf_fmt(b, "%lld-%lld=%lld:%lld", (long long)now, (long long)(digit * y),
                (long long)(now % y), (long long)digit);
        if (place == 1) return;
        buf_add(b, STR(" "));
        place /= 10;
    }
}

static void draw(Problem *p, Arena *a, Draws *d, int digits) {
    const bool two = digits > 3 && draw_below(d, 2);
    const int64_t y = two ? 11 + draw_below(d, 89) : 2 + draw_below(d, 8);
    int64_t low = 1;
    for (int i = 1; i < digits; i++) low *= 10;
    const int64_t least = digits == 1 ? 0 : (low + y - 1) / y, most = (10 * low - 1) / y;
    const int64_t quotient = least + draw_below(d, most - least + 1), x = quotient * y;
    Buf thought = {.a = a};
    think(&thought, x, y);
    *p = (Problem){.prompt = worded(a, d, x, y),
                   .thought = buf_str(&thought),
                   .answer = str_fmt(a, "%lld", (long long)quotient),
                   .canonical = str_fmt(a, "division %lld %lld", (long long)x, (long long)y),
                   .stratum = ""};
}

const Task task_division = {.name = "division",
                            .help = "quotients without remainder",
                            .easiest = 1,
                            .hardest = 6,
                            .difficulty = "digits",
                            .draw = draw,
                            .check = check_same};
