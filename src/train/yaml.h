/* yaml.h -- private to train/: what yaml.c and texts.c share of libcyaml. */
#pragma once
#include "train/recipe.h"

#include <cyaml/cyaml.h>

/* A configuration that collects the library's error lines, one after the other, in `log`. */
cyaml_config_t config_of(Buf *log, unsigned flags);
Str first_line(Str s);
/* data.train of a file that is sound otherwise; a list as recipe.h's parts_read takes it. */
bool texts_load(Str *value, Arena *a, Str bytes, const char *path, Err *err) CHECKED;
