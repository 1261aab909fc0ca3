/* reader.h -- private to data/: which files a name means, and a file's text in windows, unpacked on
 * the way where it is packed. */
#pragma once
#include "base/base.h"

/* A file, the files of a folder and of its folders, or those that a pattern with * ? [ fits; sorted
 * by their names' bytes. In folders only files that end as texts do count. */
bool files_find(Arena *a, const char ***path, int64_t *n, const char *name, Err *err) CHECKED;
/* Whether its lines are JSON, as its ending says. */
bool file_is_json(const char *path);

/* A file as it is has one window, all of it. What gzip, xz or zstd packed comes in windows of some
 * MB; a longer one only where whoever reads gives up too little of it. */
typedef struct Reader {
    const char *path;
    Map map;
    struct archive *unpack; /* NULL: nothing to unpack */
    Arena *arena;           /* of the window */
    char *buf;
    int64_t cap;
    Str window; /* what was read and is not given up */
    bool end;   /* it reaches to the end of the text */
} Reader;
bool reader_open(Reader *r, const char *path, Err *err) CHECKED;
/* Gives up the window's first bytes and reads more behind the others. ERR_LIMIT where the window
 * would have more than `most` bytes. */
bool reader_more(Reader *r, int64_t used, int64_t most, Err *err) CHECKED;
/* How much of the file was read and given up, of map.n. */
int64_t reader_at(const Reader *r);
void reader_close(Reader *r); /* one that is not open is fine, zeroed */
