/* download.h -- private to fetch/: one file, from where an earlier try left it. */
#pragma once
#include "fetch/http.h"

typedef struct Wanted {
    const char *url, *name; /* name: one part of a path */
    int64_t size;           /* -1: the server says */
    const char *sha256;     /* NULL: the server may say; afterwards what the file has */
    bool checked;           /* it was given or said by the server, and not only computed */
    FileStamp stamp;        /* where `looked`: of a file of this name, and whether it is the same */
    bool looked, same;
} Wanted;

typedef struct Download {
    Arena *a;
    Http *http;
    const char *folder; /* where the file stands once it is whole; NAME.part before */
    const char *token;
    const char *page; /* where licences are accepted; NULL */
    Progress bar;
    int64_t done, received, kept; /* bytes of all files; now, and from an earlier call */
} Download;

/* What an earlier try left of it. */
int64_t download_kept(const Download *d, const Wanted *w);
/* Whether so many bytes more have room in the folder; `what` is being fetched. */
bool room_check(const char *what, const char *folder, int64_t bytes, Err *err) CHECKED;
bool download_run(Download *d, Wanted *w, Err *err) CHECKED;
