/* tests.h -- shared by the tests of serve/: a server with simple answers, and a client that sends
 * exactly the bytes that it is told to. */
#pragma once
#include "serve/http.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "support/must.h"
#include "support/need.h"

int test_guard(void), test_probes(void), test_http(void), test_streams(void);
int test_attach(void), test_cited(void), test_documents(void), test_handle(void),
    test_history(void), test_hosted(void);
int test_keys(void), test_kept(void), test_requests(void), test_training(void), test_types(void);

/* "/a", "/b" and "*" get 200 and {"path":...,"n":bytes of the body,"key":...}; "/slow" waits until
 * site_go; "/stream" and "/late" are left to the test, which takes them by site_taken. Everything
 * else is 404. */
typedef struct Site Site;
typedef struct SiteSpec {
    bool tls;
    double head_seconds, body_seconds, idle_seconds;            /* 0: 10 */
    int64_t connections, body_bytes, out_bytes, workers, queue; /* 0: 64, 1 MB, 64 KB, 2, 16 */
    int64_t large_bytes;          /* of bodies for "/b"; 0: as others */
    const char *host, *unix_path; /* NULL: 127.0.0.1 */
} SiteSpec;
Site *site_open(const SiteSpec *spec);
void site_close(Site *s);
Server *site_http(Site *s);
const char *site_folder(const Site *s); /* with TLS: of cert.pem and key.pem */
void site_certificate(Site *s);         /* makes others there */
Exchange *site_taken(Site *s);          /* the next request for "/stream" or "/late" */
Exchange *site_next(Site *s); /* the same; NULL where site_last was called and none is left */
void site_last(Site *s);
void site_go(Site *s); /* lets those at "/slow" go on */

typedef struct Wire {
    int fd;
    void *tls; /* gnutls_session_t, or NULL */
    bool tls_wanted;
    char got[1 << 16];
    int64_t n;
    bool closed; /* by the server */
} Wire;
void wire_open(Wire *w, Site *s);
void wire_plain(Wire *w, Site *s);                  /* without TLS, whatever the server speaks */
void wire_certificate(const Wire *w, char sha[65]); /* the one that the server has shown */
bool wire_send(Wire *w, Str bytes);
void wire_close(Wire *w);
/* Reads for so many seconds, or until the server closes, or until `text` was read. */
bool wire_wait(Wire *w, const char *text, double seconds);
int64_t wire_count(const Wire *w, const char *text); /* how often it was read */

int64_t files_open(void), threads_running(void); /* of this process */

/* Seconds by which this program's clock (time, and so os_time) is ahead of the machine's. */
extern int64_t clock_ahead;
