/* multiplication.c -- products of two numbers of up to four digits, as they are worked out on
 * paper: a line for each digit of the second number, and the lines added one after the other.
 *
 * 47*36:  "47*6: 7*6=42 4*6+4=28 282; 47*30: 7*3=21 4*3+2=14 1410; 282+1410: 2+0=2 8+1=9 2+4=6
 * 0+1=1 1692" */
#include "tasks/parts.h"

static Str worded(Arena *a, Draws *d, int64_t x, int64_t y) {
    static const char *const wording[] = {
        "%lld*%lld=",
        "%lld * %lld",
        "What is %lld * %lld?",
        "Multiply %lld by %lld.",
        "%lld 乘 %lld 等于多少？",
    };
    return str_fmt(a, wording[draw_wording(d, COUNT(wording))], (long long)x, (long long)y);
}

/* Digits of y that are 0 leave nothing to add. */
static void think(Buf *b, int64_t x, int64_t y) {
    int64_t sum = -1;
    for (int64_t place = 1, rest = y; rest || sum < 0; rest /= 10, place *= 10) {
        const int64_t digit = rest % 10, line = x * digit * place;
        if (digit == 0 && (rest || sum >= 0)) continue;
        Buf steps = {.a = b->a};
        think_digit_product(&steps, x, digit);
        buf_fmt(b, "%s%lld*%lld: %.*s %lld", b->n ? "; " : "", (long long)x,
                (long long)(digit * place), STRF(buf_str(&steps)), (long long)line);
        if (sum >= 0) {
            steps = (Buf){.a = b->a};
            think_sum(&steps, sum, line);
            buf_fmt(b, "; %lld+%lld: %.*s %lld", (long long)sum, (long long)line,
                    STRF(buf_str(&steps)), (long long)(sum + line));
        }
        sum = MAX(sum, 0) + line;
    }
}

static void draw(Problem *p, Arena *a, Draws *d, int digits) {
    int64_t x, y;
    Buf thought = {.a = a};
    draw_operands(d, digits, &x, &y);
    think(&thought, x, y);
    *p = (Problem){.prompt = worded(a, d, x, y),
                   .thought = buf_str(&thought),
                   .answer = str_fmt(a, "%lld", (long long)(x * y)),
                   .canonical = canonical_pair(a, "multiplication", x, y),
                   .stratum = ""};
}

const Task task_multiplication = {.name = "multiplication",
                                  .help = "products of two numbers",
                                  .easiest = 1,
                                  .hardest = 4,
                                  .difficulty = "digits",
                                  .draw = draw,
                                  .check = check_same};
