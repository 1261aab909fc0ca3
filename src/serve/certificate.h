/* certificate.h -- private to serve/: the certificate that TLS shows, which may become another one
 * while connections are open. */
#pragma once
#include "base/base.h"

#include <gnutls/abstract.h>

typedef struct Certificate Certificate;
/* Of two files in PEM: a certificate (behind it those of its issuers) and its key. */
bool certificate_open(Certificate **c, Arena *a, const char *cert, const char *key,
                      Err *err) CHECKED;
/* Reads them again: handshakes that begin later see what they hold. Fails where they are not a
 * certificate and its key; then all is as before. */
bool certificate_read(Certificate *c, bool *differs, Err *err) CHECKED;
/* What a handshake shows; it stays valid until certificate_close. */
void certificate_now(Certificate *c, gnutls_pcert_st **cert, unsigned *n, gnutls_privkey_t *key);
void certificate_close(Certificate *c); /* NULL is fine */
