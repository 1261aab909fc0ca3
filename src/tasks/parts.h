/* parts.h -- private to tasks/: what the tasks share. */
#pragma once
#include "tasks/tasks.h"

/* ---- random numbers of one problem (draw.c) -------------------------------------------------- */

typedef struct Draws {
    uint64_t seed;
    int64_t index;    /* of the problem in its row: strata take turns by it */
    uint32_t attempt; /* problems of the other range are thrown away */
    uint32_t n;       /* words drawn */
    bool canonical;   /* the first wording only */
} Draws;
/* 0 .. n-1, n > 0. */
int64_t draw_below(Draws *d, int64_t n);
/* A number of `digits` digits that does not begin with 0, but for 0 itself. */
int64_t draw_digits(Draws *d, int digits);
/* Two operands, of which one has `digits` digits and the other as many, or every other time fewer;
 * in any order. */
void draw_operands(Draws *d, int digits, int64_t *x, int64_t *y);
/* One of n wordings: the first every other time, else one of all. */
int64_t draw_wording(Draws *d, int64_t n);

/* n different numbers out of 0 .. of-1, in any order; of is at most PEOPLE. */
enum { PEOPLE = 20 };
void draw_some(Draws *d, int *some, int n, int of);
extern const char *const people_english[PEOPLE], *const people_chinese[PEOPLE];

/* "NAME smaller larger". */
Str canonical_pair(Arena *a, const char *name, int64_t x, int64_t y);

/* ---- thoughts digit by digit (digits.c) ------------------------------------------------------ */

/* x + y from the last digit on, "8+6=14 7+5+1=13 4+3+1=8": what is carried comes third. */
void think_sum(Buf *b, int64_t x, int64_t y);
/* Which is larger, from the first digit on as far as they are the same, "3=3 7<8". */
void think_order(Buf *b, int64_t x, int64_t y);
/* x - y for x >= y, "14-6=8 17-5-1=11": ten is lent to every digit, and where it is used up the
 * next one has to give it back. */
void think_difference(Buf *b, int64_t x, int64_t y);
/* x times the digit y, "7*6=42 4*6+4=28". */
void think_digit_product(Buf *b, int64_t x, int64_t y);

/* The answer that was expected, digit for digit. */
bool check_same(const Problem *p, Str answer);

/* ---- expressions (expression.c) -------------------------------------------------------------- */

/* Exact: n / d in lowest terms, d > 0. */
typedef struct Rational {
    int64_t n, d;
} Rational;
/* x op y for one of + - * /. false: a division by zero, or a number beyond 64 bits. */
bool rational_apply(Rational *r, Rational x, char op, Rational y);
/* Reads numbers from 1 to 99 without leading zeros, + - * /, brackets, and blanks between them; no
 * sign in front of a number. false for anything else, for more than `most` numbers, and where the
 * value is none. number (most) receives the numbers as they come. */
bool expression_read(Str s, Rational *value, int64_t *number, int64_t most, int64_t *n);

/* The sides of a + - * / tree, printed with no more brackets than its value needs. */
typedef struct Term {
    Rational value;
    char op; /* 0: a number */
    const struct Term *x, *y;
} Term;
void term_print(Buf *b, const Term *t);
void rational_print(Buf *b, Rational r); /* "7" or "7/2" */

extern const Task task_about, task_addition, task_countdown, task_division, task_liars,
    task_multiplication, task_subtraction, task_word_problems;

/* ---- problems of a file (file.c) ------------------------------------------------------------- */

bool task_from_file(const Task **t, Arena *a, const char *path, Err *err) CHECKED;
/* The same of the file's bytes; `name` is for messages. */
bool task_from_lines(const Task **t, Arena *a, Str text, const char *name, Err *err) CHECKED;
