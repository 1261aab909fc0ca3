/* serve.c -- starts HTTP before an engine, and ends it. */
#include "serve/api.h"

/* A body may have so many bytes, and so many for each token of the context: encoding takes some
 * hundred times as much for a moment. */
enum { BODY_BYTES = 1 << 20, BODY_TOKEN = 64 };
enum { OUT_BYTES = 1 << 20, WORKERS = 2, BACKLOG = 256 };

static bool address_check(const ServeSpec *s, Err *err) {
    const bool local = !s->host || !strcmp(s->host, "localhost") || !strncmp(s->host, "127.", 4)
                       || !strcmp(s->host, "::1");
    if (local || !s->no_keys) return true;
    return err_set(err, ERR_USAGE,
                   "serving on %s, which other machines reach, needs keys: leave --no-keys out",
                   s->host);
}

static void key_set(Api *api) {
    Sha256 hash;
    if (!api->spec->api_key) return;
    sha256_init(&hash);
    sha256_add(&hash, api->spec->api_key, (int64_t)strlen(api->spec->api_key));
    sha256_hex(&hash, api->key);
}

bool serve_run(const ServeSpec *spec, Bundle *b, Engine *engine,
               void (*ready)(void *arg, const char *address, const char *key), void *arg,
               Err *err) {
    if (!address_check(spec, err)) return false;
    Arena *a = arena_open("service", ARENA_NO_LIMIT);
    Api *api = PUSH(a, Api, 1);
    *api = (Api){.spec = spec,
                 .bundle = b,
                 .lock = monitor_new(a),
                 .jobs = queue_new(a, spec->queue, sizeof(Job *)),
                 .fingerprint = spec->fingerprint,
                 .started = os_time()};
    key_set(api);
    if (b->n_end
        && !lexicon_new(&api->lexicon, a, b->tok, b->model->cfg.V, b->end, b->n_end, err)) {
        arena_close(a);
        return false;
    }
    const ServerSpec http = {.host = spec->host,
                             .port = spec->port,
                             .unix_path = spec->unix_path,
                             .tls_cert = spec->tls_cert,
                             .tls_key = spec->tls_key,
                             .names = spec->names,
                             .n_names = spec->n_names,
                             .connections = spec->connections,
                             .body_bytes = BODY_BYTES + BODY_TOKEN * spec->context,
                             .out_bytes = OUT_BYTES,
                             .workers = WORKERS,
                             .queue = BACKLOG,
                             .head_seconds = 10,
                             .body_seconds = 60,
                             .idle_seconds = 60,
                             .handler = call_handle,
                             .refused = call_refused,
                             .arg = api};
    const bool stored = !spec->api_key && !spec->no_keys;
    bool ok = !stored || gate_open(&api->gate, a, spec->data, err);
    ok = ok && server_open(&api->http, a, &http, err);
    if (ok) {
        if (ready) ready(arg, server_address(api->http), gate_first(api->gate));
        engine_thread_run(api, engine);
        server_close(api->http);
    }
    gate_close(api->gate);
    forms_close(api);
    arena_close(a);
    return ok;
}
