/* word_problems.h -- private to tasks/: quantities that depend on one another, and how they are
 * told. */
#pragma once
#include "tasks/parts.h"

/* How a quantity is come by. The last three are questions. */
typedef enum Kind {
    GIVEN,      /* n */
    PACKS,      /* n * m */
    LEFT,       /* n - m */
    MORE,       /* x + n */
    FEWER,      /* x - n */
    TIMES,      /* x * n */
    PART,       /* x / n */
    SUM,        /* x + y */
    ASKED,      /* how much x is */
    TOGETHER,   /* how much x + y is */
    DIFFERENCE, /* how much x - y is */
    KINDS
} Kind;

typedef struct Quantity {
    Kind kind;
    int deps, of[2]; /* how many others it is computed from (-1: it is given), and which: x, y */
    int64_t n, m, value;
    int name;   /* in the theme's list */
    int level;  /* one above those that it is computed from */
    int group;  /* canonical number: the same for what is computed in the same way */
    bool known; /* in the thought */
} Quantity;

/* A world to tell about: names of those who have something, and sentences for each kind. In a
 * sentence % and a letter stand for: x, y, z the quantity and those that it is computed from (X: x
 * at the beginning of a sentence); n, m the numbers; k the factor in words; t the things, and g
 * these without their measure word. */
typedef struct Theme {
    const char *before, *behind; /* of a name: "the " red " box" */
    const char *const *name;     /* (PEOPLE) */
    const char *thing[6];        /* as many as there are, at least one */
    const char *say[KINDS][2];   /* wordings; the second may be missing */
} Theme;

typedef struct Language {
    const Theme *theme;
    int themes;
    const char *joint;         /* between two sentences */
    const char *times[2];      /* 2 times, and n times: "twice", "%lld times" */
    const char *part[3];       /* a half, a third, a quarter */
    const char *given, *blank; /* a thought's beginning, and what stands between words */
} Language;
extern const Language language_english, language_chinese;

/* The sentence, or the question, of a quantity. */
void quantity_say(Buf *b, const Language *l, const Theme *t, const char *thing, const Quantity *all,
                  const Quantity *q, const char *wording);
