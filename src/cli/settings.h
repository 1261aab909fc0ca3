/* settings.h -- private to cli/: a command's options from the environment and from a YAML file,
 * under the names of its option table. What the command line says wins over the environment, and
 * that over the file. */
#pragma once
#include "cli/args.h"

/* Options that are not `given` yet and that a variable sets are: --tls-cert by LISAO_TLS_CERT, a
 * flag by "true" or "false", a list by one value. Sets given[i] (n_opts) for them. */
bool settings_from_env(const Command *c, bool *given, Err *err) CHECKED;
/* The same of a file: a mapping of names to values, of lists to lists. What is not an option is
 * refused where it stands; options named in `not_there` (ends with NULL) are none of a file. */
bool settings_from_file(const Command *c, bool *given, const char *const *not_there, Arena *a,
                        const char *path, Err *err) CHECKED;
void setting_show(const Opt *o, Buf *out); /* its value as text */
