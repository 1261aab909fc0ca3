/* schema.h -- private to text/: JSON Schema, compiled into a net. */
#pragma once
#include "text/pattern.h"

#include <jansson.h>

enum { SCHEMA_BYTES = 256 << 10, SCHEMA_DEPTH = 64, ENUM_MOST = 4096, LENGTH_MOST = 8192 };
enum { ITEMS_MOST = 1024, PATH_BYTES = 400 };
enum { NAME_REST = 64 }; /* characters of a name that the schema does not know */

/* A schema while it is compiled. Where something is refused, err names the path. */
typedef struct Schema {
    Net *n;
    const json_t *root; /* what $ref leads into */
    Writing w;
    bool blank;         /* one blank behind ':' and ',', always; else perhaps */
    const json_t **ref; /* (n_refs) what a $ref led to, */
    int32_t *ref_rule;  /* and its rule */
    int64_t n_refs;
    int32_t any, plain; /* rules, or -1: of any value; of a character that stands itself */
    int depth;
    char path[PATH_BYTES];
    int64_t n_path, n_root; /* bytes; those of the name that it begins with */
    Err *err;
} Schema;
/* name: what the path begins with. */
void schema_init(Schema *s, Net *n, const json_t *root, const char *name, Writing w, Err *err);
/* A value of this schema; NET_NONE with err set where it is refused. */
int32_t schema_put(Schema *s, const json_t *schema, int32_t next);
int32_t any_object_put(Schema *s, int32_t next);
/* ':' or ',' and the blank behind it. */
int32_t mark_put(Schema *s, const char *mark, int32_t next);
/* Refuses, naming the path and key below it; NET_NONE. */
int32_t schema_refuse(Schema *s, const char *key, const char *what);
/* Texts that these are, each as it stands. */
int32_t literals_put(Schema *s, Str *v, int64_t n, int32_t next);
