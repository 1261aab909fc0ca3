/* schema.h -- private to text/: JSON Schema, compiled into a net. */
#pragma once
#include "text/pattern.h"

#include <jansson.h>

enum { SCHEMA_BYTES = 256 << 10, SCHEMA_DEPTH = 64, ENUM_MOST = 4096, LENGTH_MOST = 8192 };
enum { ITEMS_MOST = 1024, PATH_BYTES = 400 };
enum { EITHER_MOST = 256, MEMBERS_MOST = 1024, MEMBER_NAME = 256, LOOKS_MOST = 1 << 20 };
enum { NAME_REST = 64 }; /* characters of a name that the schema does not know */

/* What a $ref leads to. */
typedef struct Ref {
    const char *name;
    const json_t *to;
    int32_t rule;
} Ref;

/* A schema while it is compiled. Where something is refused, err names the path. */
typedef struct Schema {
    Net *n;
    const json_t *root; /* what $ref leads into */
    Writing w;
    bool blank; /* one blank behind ':' and ',', always; else perhaps */
    Ref *ref;   /* (n_refs) */
    int64_t n_refs;
    int32_t any, plain; /* rules, or -1: of any value; of a character that stands itself */
    int depth;
    int64_t looks; /* at schemas and values, to tell whether those of a oneOf are apart */
    char path[PATH_BYTES];
    int64_t n_path, n_root; /* bytes; those of the name that it begins with */
    Err *err;
} Schema;
/* name: what the path begins with. */
void schema_init(Schema *s, Net *n, const json_t *root, const char *name, Writing w, Err *err);
/* A value of the root; NET_NONE with err set where it is refused. */
int32_t schema_compile(Schema *s, int32_t next);
int32_t any_object_put(Schema *s, int32_t next);
/* Refuses, naming the path and key below it; NET_NONE. */
int32_t schema_refuse(Schema *s, const char *key, const char *what);
