/* backup.h -- part of serve.h: a copy of what a service must not lose. */
#pragma once
#include "base/base.h"

typedef struct Backup {
    const char *folder; /* of the service that was copied */
    int64_t files, bytes;
} Backup;

/* Copies keys, usage and conversations of the service's folder `data` (NULL: data_folder) into the
 * new folder `to`, each as it is at one moment, also while services write. `to` is such a folder
 * itself, which no other user may open; it is there when all of it is on the disk, or not at all.
 * What can be computed again, the prompts on disk, is left out. */
bool backup_make(Backup *b, Arena *a, const char *data, const char *to, Err *err) CHECKED;
