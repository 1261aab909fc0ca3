/* recipe.h -- private to train/: the table of keys, for the reader, for --set, for recipe_print and
 * for the resume check. */
#pragma once
#include "train/train.h"

typedef enum KeyKind {
    KEY_STR,
    KEY_PATH,
    KEY_TEXTS, /* a path, or a list of {source, weight} */
    KEY_CHOICE,
    KEY_BOOL,
    KEY_COUNT,
    KEY_NUMBER,
    KEY_PAIR
} KeyKind;

/* What a change of the key means for a run that goes on from a checkpoint. */
typedef enum KeyFate {
    FATE_FREE, /* nothing changes: where to write, how often to log */
    FATE_WARN, /* the run continues differently; allowed, with a warning */
    FATE_FIXED /* the checkpoint does not fit: refused */
} KeyFate;

typedef struct Key {
    const char *name; /* "optim.lr" */
    KeyKind kind;
    KeyFate fate;
    int64_t to; /* offset in Recipe, or KEY_JSON for a member of config.json */
    const char
        *initial;  /* the value when the key is missing; NULL: required; "" in model.*: left out */
    double lo, hi; /* of numbers, inclusive */
    const char *choices; /* of KEY_CHOICE: "a|b|c" */
} Key;
enum { KEY_JSON = -1 };

extern const Key recipe_keys[];
extern const int64_t recipe_n_keys;

/* A list of {source, weight} as it stands in a recipe. */
static inline bool is_list(Str text) { return str_starts(text, STR("[{")); }
/* texts.c: the parts of such a list, as they are written; weights unread. */
typedef struct TextPart {
    Str source, weight, from, to; /* the last two may be empty */
} TextPart;
bool parts_read(TextPart part[MIX_MOST], int64_t *n, Arena *a, Str list, const char *from,
                Err *err) CHECKED;
/* A text between double quotes, as YAML; false where it is not UTF-8 (texts.c). */
bool quoted_put(Buf *out, Str s);
/* The steps, from 0, in which part i of data.train is drawn from: all below *end. */
int64_t part_first(const Recipe *r, int64_t i);
int64_t part_end(const Recipe *r, int64_t i);
/* Bytes of the section's name: "optim.lr" has 5, "act" none. */
int64_t key_section(const char *name);
/* One value into the recipe, by the key's kind and range; `from` names the place in messages. */
bool key_set(Recipe *r, Arena *a, int64_t key, Str value, const char *from, Err *err) CHECKED;
