/* oracle.h -- where the reference models lie: tests/golden/models, or oracles/models of the shared
 * reference data. */
#pragma once
#include "base/base.h"

/* The path of models/NAME; NULL where there is none, and a test then is skipped. */
const char *oracle_model(Arena *a, const char *name);
