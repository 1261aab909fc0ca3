/* config.h -- private to model/: what the two readers of a Config share, config.json's
 * (config_json.c) and that of GGUF keys (config_gguf.c). The tables and the checks are in config.c.
 *
 * A key may be absent, null, unknown, or there under two names. What the publisher's own code would
 * make of it is made of it here too; where that code differs between its versions, or would take a
 * number of its own, the key is refused by name. docs/models.md lists every key. */
#pragma once
#include "model/model.h"
#include <jansson.h>

typedef enum Kind { KIND_I64, KIND_F64, KIND_F32, KIND_BOOL } Kind;

/* Sets of families, and of rope scalings. */
enum { LLAMA = 1 << FAMILY_LLAMA, V2 = 1 << FAMILY_DEEPSEEK2, V3 = 1 << FAMILY_DEEPSEEK3 };
enum { QWEN2 = 1 << FAMILY_QWEN2, QWEN3 = 1 << FAMILY_QWEN3, QWEN3_MOE = 1 << FAMILY_QWEN3_MOE };
enum { GLM4 = 1 << FAMILY_GLM4_MOE_LITE };
enum { QWEN = QWEN2 | QWEN3 | QWEN3_MOE, GQA = LLAMA | QWEN, MLA = V2 | V3 | GLM4 };
enum { ALL = GQA | MLA, MOE = MLA | QWEN3_MOE, SIGMOID = V3 | GLM4 };
enum { YARN = 1 << ROPE_YARN, LLAMA3 = 1 << ROPE_LLAMA3, ROPE_SCALED = YARN | LLAMA3 };
enum { ROPES = 1 << ROPE_PLAIN | ROPE_SCALED };

/* Instead of a default: the key must be there. */
#define NEEDED (-1e300)
enum { VOCABULARY_MAX = 1 << 23, LAYERS_MAX = 1024 };

/* A number of the configuration, in both formats. */
typedef struct Field {
    const char *hf, *gguf; /* NULL: not in this format; GGUF's come after "llama." */
    unsigned of;           /* the families, or the rope scalings, that have it */
    Kind kind;
    size_t at;     /* offset in Config */
    double lo, hi; /* inclusive */
    double absent, null,
        gguf_absent; /* what stands for a missing key, a null, a missing GGUF key */
    bool experts;    /* read only where there are experts */
} Field;
typedef struct Fields {
    const Field *row;
    int64_t n;
} Fields;
extern const Fields config_fields, rope_fields;

/* What a family is called: the model_type and the class of its config.json, the architecture of its
 * GGUF files. */
typedef struct FamilyNames {
    const char *type, *class, *arch;
} FamilyNames;
extern const FamilyNames family_names[FAMILY_N];
/* The names of MlaForm in the files: mla_form of a config.json, lisao.mla_form of a GGUF file. Both
 * keys are this project's own: a checkpoint records which form it was trained in, as the two differ
 * in bits. */
#define GGUF_MLA_FORM "lisao.mla_form"
extern const char *const mla_forms[2];
static inline unsigned family_set(const Config *c) { return 1u << c->family; }

/* Where values come from: an object of a config.json, or the metadata of a GGUF file. */
typedef struct Reader {
    const json_t *object; /* NULL: GGUF */
    const Store *store;
    const char *arch; /* of a GGUF file, else NULL */
    const char *file; /* for messages */
    Config *c;
    Err *err;
    bool bad;      /* err is set: the first fault stops the reading */
    char key[128]; /* gguf_key's */
} Reader;

typedef enum Found { FOUND, FOUND_NULL, NOT_FOUND } Found;
/* The number behind f's key. A value of another kind sets r->bad. */
Found json_number_at(Reader *r, const Field *f, double *out);
Found gguf_number_at(Reader *r, const Field *f, double *out);

/* The first fault: "FILE: KEY: what". */
void config_bad(Reader *r, ErrCode code, const char *key, const char *fmt, ...) FORMAT(4, 5);
/* Reads the rows of a table that `set` (a family, a scaling: one bit) has. */
void fields_read(Reader *r, Fields f, unsigned set);
bool fields_have(const Reader *r, Fields f, unsigned set, const char *key);
bool name_listed(const char *name, const char *const *list, int64_t n);
double field_get(const Config *c, const Field *f);

/* Text from outside, fit to stand in a message. */
typedef struct Shown {
    char text[64];
} Shown;
Shown shown(const char *s, int64_t n);

void config_defaults(Config *c); /* before reading: what no key says */
bool config_check(Reader *r);    /* what must fit together; derived sizes are set */
bool gguf_config(Config *c, const Store *s, Err *err) CHECKED;
