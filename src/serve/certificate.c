/* certificate.c -- the certificate of TLS, read anew. Those that were shown before stay until the
 * end, since a handshake may be under way with them: there is one for each renewal. */
#include "serve/certificate.h"

enum { CHAIN = 16, PEM_MOST = 1 << 20 };

typedef struct Pair {
    struct Pair *older;
    Arena *arena;
    char sha[65]; /* of both files */
    gnutls_pcert_st cert[CHAIN];
    unsigned n;
    gnutls_privkey_t key;
} Pair;

struct Certificate {
    Monitor *lock;
    const char *cert, *key;
    Pair *now;
};

static gnutls_datum_t datum(Str s) {
    return (gnutls_datum_t){(unsigned char *)(uintptr_t)s.p, (unsigned)s.n};
}

/* GnuTLS tells by itself whether they belong together only where it keeps them. */
static bool belong(const gnutls_datum_t *cert, const gnutls_datum_t *key) {
    gnutls_certificate_credentials_t both;
    if (gnutls_certificate_allocate_credentials(&both) != 0) return false;
    const int code = gnutls_certificate_set_x509_key_mem(both, cert, key, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(both);
    return code == 0;
}

static bool pair_import(Pair *p, Str cert, Str key) {
    const gnutls_datum_t c = datum(cert), k = datum(key);
    p->n = CHAIN;
    if (!belong(&c, &k) || gnutls_privkey_init(&p->key) != 0) return false;
    if (gnutls_privkey_import_x509_raw(p->key, &k, GNUTLS_X509_FMT_PEM, NULL, 0) == 0
        && gnutls_pcert_list_import_x509_raw(p->cert, &p->n, &c, GNUTLS_X509_FMT_PEM, 0) == 0)
        return true;
    gnutls_privkey_deinit(p->key);
    return false;
}

static void pair_sha(Pair *p, Str cert, Str key) {
    Sha256 hash;
    sha256_init(&hash);
    sha256_add(&hash, &cert.n, sizeof cert.n);
    sha256_add(&hash, cert.p, cert.n);
    sha256_add(&hash, key.p, key.n);
    sha256_hex(&hash, p->sha);
}

/* The key's bytes are not left behind in memory. */
static bool pair_read(Pair *p, const Certificate *c, Err *err) {
    Str cert = {0}, key = {0};
    if (!os_read(p->arena, &cert, c->cert, PEM_MOST, err)
        || !os_read(p->arena, &key, c->key, PEM_MOST, err))
        return false;
    pair_sha(p, cert, key);
    const bool fine = pair_import(p, cert, key);
    memset((char *)(uintptr_t)key.p, 0, (size_t)key.n);
    return fine
           || err_set(err, ERR_FORMAT,
                      "TLS does not start: %s and %s must be a certificate and its key in PEM",
                      c->cert, c->key);
}

static void pair_close(Pair *p) {
    for (unsigned i = 0; i < p->n; i++) gnutls_pcert_deinit(&p->cert[i]);
    gnutls_privkey_deinit(p->key);
    arena_close(p->arena);
}

bool certificate_read(Certificate *c, bool *differs, Err *err) {
    Arena *a = arena_open("certificate", ARENA_NO_LIMIT);
    Pair *p = PUSH(a, Pair, 1);
    *p = (Pair){.arena = a};
    *differs = false;
    if (!pair_read(p, c, err)) {
        arena_close(a);
        return false;
    }
    monitor_enter(c->lock);
    *differs = !c->now || strcmp(c->now->sha, p->sha) != 0;
    if (*differs) p->older = c->now, c->now = p;
    monitor_leave(c->lock);
    if (!*differs) pair_close(p);
    return true;
}

bool certificate_open(Certificate **out, Arena *a, const char *cert, const char *key, Err *err) {
    bool differs;
    Certificate *c = *out = PUSH(a, Certificate, 1);
    *c = (Certificate){.lock = monitor_new(a), .cert = cert, .key = key};
    return certificate_read(c, &differs, err);
}

void certificate_now(Certificate *c, gnutls_pcert_st **cert, unsigned *n, gnutls_privkey_t *key) {
    monitor_enter(c->lock);
    *cert = c->now->cert, *n = c->now->n, *key = c->now->key;
    monitor_leave(c->lock);
}

void certificate_close(Certificate *c) {
    while (c && c->now) {
        Pair *p = c->now;
        c->now = p->older;
        pair_close(p);
    }
}
