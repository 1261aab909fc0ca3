/* yaml.h -- private to train/: what yaml.c and texts.c share of libcyaml. */
#pragma once
#include "train/recipe.h"

#include <cyaml/cyaml.h>

enum { KEYS_MAX = 128 };

/* What the library fills: slot i belongs to recipe_keys[i]. */
typedef struct Loaded {
    union {
        char *z;
        char **pair;
    } slot[KEYS_MAX];
} Loaded;
typedef struct Schema {
    cyaml_schema_field_t top[KEYS_MAX], member[2 * KEYS_MAX]; /* each list ends with a zero entry */
    cyaml_schema_value_t root;
} Schema;
/* lists: data.train may be a list, which the schema leaves to texts_load; else it is a text, or a
 * list as a text. */
void schema_make(Arena *a, Schema *s, bool lists);
Str slot_text(Arena *a, const Loaded *in, int64_t i);
/* "key=value" over the values of keys. */
bool override(Str *value, const Schema *s, const char *set, Err *err) CHECKED;
/* The error of a file that the library refused. */
bool yaml_failed(const Schema *s, const char *path, cyaml_err_t code, const Buf *log, Err *err);
/* A recipe of these values, one for each key, empty where it is not given. */
bool recipe_make(Recipe *r, Arena *a, const char *path, const Str *value, Err *err) CHECKED;

/* A configuration that collects the library's error lines, one after the other, in `log`. */
cyaml_config_t config_of(Buf *log, unsigned flags);
Str first_line(Str s);

/* data.train as a list, which a schema loads into a ManyTexts. */
typedef struct Entry {
    char *source, *weight, *from, *to;
} Entry;
typedef struct ManyTexts {
    struct {
        Entry *train;
        uint32_t train_count;
    } data;
} ManyTexts;
typedef struct ManySection {
    Entry *train;
    uint32_t train_count;
} ManySection;
extern const cyaml_schema_field_t train_field; /* of a ManySection */
/* data.train of a file that is sound otherwise; a list as recipe.h's parts_read takes it. `schema`:
 * of the file, with the list in it. */
bool texts_load(Str *value, Arena *a, Str bytes, const cyaml_schema_value_t *schema,
                const char *path, Err *err) CHECKED;
