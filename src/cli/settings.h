/* settings.h -- private to cli/: a command's options from the environment and from a YAML file,
 * under the names of its option table. What the command line says wins over the environment, and
 * that over the file. */
#pragma once
#include "cli/args.h"

/* Options that are not `given` yet and that a variable sets are: --tls-cert by LISAO_TLS_CERT, a
 * flag by "true" or "false", a list by one value. Sets given[i] (n_opts) for them. */
bool settings_from_env(const Command *c, bool *given, Err *err) CHECKED;
/* A list of mappings in the file, each read by a table of options: begin before the settings of an
 * entry are set, take after it. */
typedef struct SettingList {
    const char *name;
    const Opt *opts;
    int64_t n_opts, most;
    void (*begin)(void *arg);
    bool (*take)(void *arg, Err *err);
    void *arg;
} SettingList;
/* The same of a file: a mapping of names to values, of lists to lists; the command's own come
 * before the entries of `list` (NULL: there is none). What is not an option is refused where it
 * stands; options named in `not_there` (ends with NULL) are none of a file. */
bool settings_from_file(const Command *c, bool *given, const char *const *not_there,
                        const SettingList *list, Arena *a, const char *path, Err *err) CHECKED;
void setting_show(const Opt *o, Buf *out); /* its value as text */
