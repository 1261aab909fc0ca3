/* cmd_backup.c -- `lisao backup`: a copy of a service's keys and conversations. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>

#include "serve/serve.h"

static void shown(Arena *a, const Backup *b, const char *to, bool json) {
    if (json)
        json_show(json_pack("{s:s, s:s, s:I, s:I}", "data", path_shown(a, b->folder), "folder",
                            path_shown(a, to), "files", (json_int_t)b->files, "bytes",
                            (json_int_t)b->bytes));
    else
        printf("%s has a copy of %s: %lld files, %.1f MB\n", path_shown(a, to),
               path_shown(a, b->folder), (long long)b->files, (double)b->bytes / 1e6);
}

int cmd_backup(int argc, char **argv) {
    const char *data = NULL;
    bool json = false;
    const Opt opts[] = {DATA_OPT(&data), FLAG_OPT("json", &json, "Print JSON.")};
    const Command c = {
        "backup",
        "FOLDER",
        "copy a service's keys and conversations",
        "Copies the keys, their usage and the conversations of a service into the new folder "
        "FOLDER, also while it runs: each database as it is at one moment. FOLDER is there when "
        "everything is on the disk, or not at all. It holds what lets its owner in and what was "
        "said, so no other user may open it.\n\n"
        "To restore, stop the service and put keys and history of FOLDER in the place of those of "
        "its folder; or start `lisao serve` with --data FOLDER.",
        "lisao backup backup-monday\nlisao backup disk/monday --data service\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    Backup b;
    if (argc != 2) {
        err_set(&err, ERR_USAGE, "expected one FOLDER, found %d arguments", argc - 1);
        return command_failed(&c, &err);
    }
    Arena *a = arena_open("backup", 1 << 26);
    const bool fine = backup_make(&b, a, data, argv[1], &err);
    if (fine) shown(a, &b, argv[1], json);
    code = fine ? 0 : command_failed(&c, &err);
    arena_close(a);
    return code;
}
