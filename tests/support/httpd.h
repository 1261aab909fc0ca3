/* httpd.h -- a server of HTTP/1.1 on this machine, with the faults of real ones. One connection at
 * a time, one request each; a thread of its own, which httpd_close ends. */
#pragma once
#include "base/base.h"

typedef struct Served {
    const char *path; /* of the request, with its query */
    Str body;
    int status;          /* 0: 200 */
    const char *type;    /* NULL: application/octet-stream */
    const char *headers; /* further ones, each with \r\n at its end; or NULL */
    const char *token;   /* 401 for whoever does not send it; or NULL */
    int64_t cut_at;      /* the connection ends behind so many bytes of an answer; 0: it does not */
    int64_t faults;      /* how many times it is cut or `status`; 0: always. Then 200, whole */
    bool no_range;       /* always all of it */
    bool no_length;      /* the end of the connection is the end of the body */
    bool stall;          /* instead of a cut: silence, until the client goes */
    const char *etag;    /* a Range with another If-Range gets all; NULL: none is sent */
} Served;

typedef struct Asked { /* the requests for one path */
    int64_t n;
    char range[64], authorization[128]; /* of the last; empty: none */
    char body[4096];                    /* that was sent with it */
} Asked;

typedef struct Httpd Httpd;
Httpd *httpd_open(void);
void httpd_close(Httpd *h);
const char *httpd_url(const Httpd *h); /* "http://127.0.0.1:PORT" */
/* Replaces what has the same path; texts and bytes stay the caller's. Other paths are 404. */
void httpd_serve(Httpd *h, Served s);
Asked httpd_asked(Httpd *h, const char *path);
int64_t httpd_requests(Httpd *h); /* of all paths */

/* What a hub has of a repository: its list of files, and the files. */
typedef struct HubFile {
    const char *path;
    Str bytes;
    bool plain; /* no SHA-256 is told */
} HubFile;
void httpd_hub(Httpd *h, Arena *a, const char *repo, const HubFile *file, int64_t n);
const char *httpd_file(Arena *a, const char *repo, const char *path); /* the path on the server */
const char *sha256_text(Arena *a, Str s);
