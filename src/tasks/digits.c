/* digits.c -- sums, differences and products written down digit by digit, the last digit first: so
 * each step needs the step before it and two digits, and no number is needed before it is known. */
#include "tasks/parts.h"

/* What separates two steps. */
static void step_begin(Buf *b, int64_t first) {
    if (b->n > first) buf_add(b, STR(" "));
}

void think_sum(Buf *b, int64_t x, int64_t y) {
    const int64_t first = b->n;
    for (int64_t carry = 0; x || y || b->n == first; x /= 10, y /= 10) {
        const int64_t sum = x % 10 + y % 10 + carry;
        step_begin(b, first);
        buf_fmt(b, "%d+%d%s=%d", (int)(x % 10), (int)(y % 10), carry ? "+1" : "", (int)sum);
        carry = sum / 10;
    }
}

void think_order(Buf *b, int64_t x, int64_t y) {
    const int64_t first = b->n;
    int64_t place = 1;
    while (MAX(x, y) / place >= 10) place *= 10;
    for (char sign = '='; sign == '=' && place; place /= 10) {
        const int64_t i = x / place % 10, j = y / place % 10;
        sign = i < j ? '<' : i > j ? '>' : '=';
        step_begin(b, first);
        buf_fmt(b, "%d%c%d", (int)i, sign, (int)j);
    }
}

void think_difference(Buf *b, int64_t x, int64_t y) {
    CHECK(x >= y && y >= 0);
    const int64_t first = b->n;
    for (int64_t borrow = 0; x || y || b->n == first; x /= 10, y /= 10) {
        const int64_t lent = 10 + x % 10, left = lent - y % 10 - borrow;
        step_begin(b, first);
        buf_fmt(b, "%d-%d%s=%d", (int)lent, (int)(y % 10), borrow ? "-1" : "", (int)left);
        borrow = left < 10;
    }
}

void think_digit_product(Buf *b, int64_t x, int64_t y) {
    CHECK(y >= 0 && y <= 9);
    const int64_t first = b->n;
    for (int64_t carry = 0; x || b->n == first; x /= 10) {
        const int64_t product = x % 10 * y + carry;
        step_begin(b, first);
        buf_fmt(b, "%d*%d", (int)(x % 10), (int)y);
        if (carry) buf_fmt(b, "+%d", (int)carry);
        buf_fmt(b, "=%d", (int)product);
        carry = product / 10;
    }
}

bool check_same(const Problem *p, Str answer) { return str_eq(p->answer, answer); }
