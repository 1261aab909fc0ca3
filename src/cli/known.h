/* known.h -- private to cli/: open reasoning models that people ask for, and what they need. */
#pragma once
#include "cli/cli.h"

/* Numbers of a weight in a file: Q4_K_M mixes Q4_K and Q6_K, about as 5 to 1. */
typedef enum KnownType { KNOWN_Q4_K_M, KNOWN_Q8_0, KNOWN_TYPES } KnownType;
const char *known_type(KnownType t);

typedef struct Known {
    const char *name;
    ModelSize size;
    double kv;                  /* bytes of RUN_CONTEXT positions */
    double memory[KNOWN_TYPES]; /* bytes to run it with such a context */
    double read[KNOWN_TYPES];   /* bytes of weights that a token reads */
} Known;

int64_t known_count(void);
Known known_at(int64_t i); /* smallest first */
