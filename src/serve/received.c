/* received.c -- the bytes that come from clients, before libmicrohttpd has seen them.
 *
 * It writes zeros over the ends of a head's lines, and a NUL that a client sent can then not be
 * told from one. So the two functions by which it reads, recv and gnutls_record_recv, are defined
 * here: what a program defines, the dynamic linker takes before what a library defines. On the
 * network thread of a server they read as ever and hide NULs (guard_hide_nuls); on every other
 * thread they read as ever. Probes 64 to 71 (tests/serve/probes.c) fail where they are not the ones
 * that libmicrohttpd calls. */
#include "serve/connection.h"

typedef enum Reads { READS_ELSEWHERE, READS_PLAIN, READS_TLS } Reads;
static _Thread_local Reads reads; /* what the thread reads requests by */

void received_here(bool tls) { reads = tls ? READS_TLS : READS_PLAIN; }

/* Under TLS these are GnuTLS's records, in which a NUL is none of the client's. */
ssize_t recv(int fd, void *to, size_t n, int flags) {
    const ssize_t got = recvfrom(fd, to, n, flags, NULL, NULL);
    if (reads == READS_PLAIN && got > 0) guard_hide_nuls(to, got);
    return got;
}

ssize_t gnutls_record_recv(gnutls_session_t session, void *to, size_t n) {
    unsigned char sequence[8];
    const ssize_t got = gnutls_record_recv_seq(session, to, n, sequence);
    if (reads == READS_TLS && got > 0) guard_hide_nuls(to, got);
    return got;
}
