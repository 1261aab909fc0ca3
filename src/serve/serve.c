/* serve.c -- starts HTTP before engines, and ends it. */
#include "serve/api.h"
#include "serve/history.h"

/* A body may have so many bytes, and so many for each token of the context: encoding takes some
 * hundred times as much for a moment. */
enum { BODY_BYTES = 1 << 20, BODY_TOKEN = 64 };
/* And one with a file in base64, in JSON. */
enum { FILE_BODY = (EXTRACT_MOST / 3 + 1) * 4 + 4096 };
/* What a stream may have unread: its last event lists all tokens. */
enum { OUT_BYTES = 1 << 20, OUT_TOKEN = 16, WORKERS = 2, BACKLOG = 256 };

static bool is_local(const char *host) {
    return !strcmp(host, "localhost") || !strncmp(host, "127.", 4) || !strcmp(host, "::1")
           || !strcmp(host, "unix");
}

static bool address_check(const ServeSpec *s, Err *err) {
    char local[NET_ADDRESS];
    const char *host = s->unix_path || !s->host ? "unix" : s->host;
    if (s->socket) net_local(local, (int)s->socket), host = local;
    if (is_local(host) || !s->no_keys) return true;
    return err_set(err, ERR_USAGE,
                   "serving on %s, which other machines reach, needs keys: leave --no-keys out",
                   host);
}

static void over(void *arg, const Served *s) { journal_request(((Api *)arg)->journal, s); }

static int64_t context_most(const ServeSpec *spec) {
    int64_t most = 0;
    for (int64_t i = 0; i < spec->n_models; i++) most = MAX(most, spec->model[i].context);
    return most;
}

static ServerSpec http_spec(const ServeSpec *spec, Api *api) {
    return (ServerSpec){.host = spec->host,
                        .port = spec->port,
                        .unix_path = spec->unix_path,
                        .socket = spec->socket,
                        .tls_cert = spec->tls_cert,
                        .tls_key = spec->tls_key,
                        .names = spec->names,
                        .n_names = spec->n_names,
                        .connections = spec->connections,
                        .body_bytes = BODY_BYTES + BODY_TOKEN * context_most(spec),
                        .is_large = call_is_large,
                        .large_bytes = FILE_BODY,
                        .out_bytes = OUT_BYTES + OUT_TOKEN * context_most(spec),
                        .workers = WORKERS + (spec->web ? spec->web_most : 0)
                                   + (spec->readers ? FILE_READERS : 0), /* each may wait */
                        .queue = BACKLOG,
                        .head_seconds = 10,
                        .body_seconds = 60,
                        .idle_seconds = 60,
                        .handler = call_handle,
                        .refused = call_refused,
                        .over = over,
                        .arg = api};
}

/* ---- what is left to the process ------------------------------------------------------------- */

/* Threads that begin later write beneath the folder of data alone. */
static bool files_narrow(const ServeSpec *spec, Arena *a, bool writes, Err *err) {
    const char *data = spec->data ? spec->data : data_folder(a);
    const char *slash = spec->unix_path ? strrchr(spec->unix_path, '/') : NULL;
    const char *beside = !spec->unix_path ? NULL
                         : !slash         ? "."
                         : slash == spec->unix_path
                             ? "/"
                             : str_copy(a, (Str){spec->unix_path, slash - spec->unix_path}).p;
    return (!writes || os_mkdir(data, err)) && sandbox_files(writes ? data : NULL, beside, err);
}

/* All threads are there: the calls that they need yet are all that is left. */
static bool calls_narrow(const ServeSpec *spec, Err *err) {
    return spec->no_sandbox || sandbox_calls(err);
}

static void narrowing_say(const Api *api, const Err *err) {
    if (err->code)
        journal_say(api->journal, "sandbox", "the service goes on without: %s", err->msg);
}

/* ---- the service ----------------------------------------------------------------------------- */

/* One model is there when it is said to be. */
static bool hosts_start(Api *api, Arena *a, Err *err) {
    return hosts_open(api, a, err) && (api->spec->n_models > 1 || host_load(api, api->host, err));
}

bool serve_run(const ServeSpec *spec,
               void (*ready)(void *arg, const char *address, const char *key), void *arg,
               Err *err) {
    if (!address_check(spec, err)) return false;
    Arena *a = arena_open("service", ARENA_NO_LIMIT);
    Api *api = PUSH(a, Api, 1);
    Keeper *keeper = NULL;
    *api = (Api){.spec = spec,
                 .lock = monitor_new(a),
                 .jobs = queue_new(a, spec->queue, sizeof(Job *)),
                 .streams = streams_new(a),
                 .started = os_time()};
    if (spec->api_key) api_key_set(api, spec->api_key);
    if (!hosts_start(api, a, err)) {
        hosts_close(api);
        arena_close(a);
        return false;
    }
    const ServerSpec http = http_spec(spec, api);
    const bool stored = !spec->api_key && !spec->no_keys;
    Err files = {0}, calls = {0};
    if (!spec->no_sandbox)
        (void)files_narrow(spec, a, stored || spec->history || spec->documents || spec->writes,
                           &files);
    bool ok = journal_open(&api->journal, a, spec->log, err)
              && (!stored || gate_open(&api->gate, a, spec->data, !spec->no_first_key, err))
              && (!spec->history
                  || history_open(&api->history, a, spec->data ? spec->data : data_folder(a),
                                  spec->history_days, err))
              && (!spec->documents || documents_open(&api->documents, a, spec->data, err))
              && (!spec->runs || training_open(api, a, err)) && lookups_open(api, a, err)
              && loader_open(api, a, err) && handles_open(api, err)
              && server_open(&api->http, a, &http, err) && keeper_open(&keeper, a, api, err);
    if (ok) {
        (void)calls_narrow(spec, &calls);
        narrowing_say(api, &files);
        narrowing_say(api, &calls);
        if (ready) ready(arg, server_address(api->http), gate_first(api->gate));
        service_notify("READY=1");
        engine_thread_run(api);
    }
    keeper_close(keeper);
    lookups_close(api->lookups);
    hosts_close(api);
    training_drain(api);
    server_close(api->http);
    training_close(api);
    gate_close(api->gate);
    history_close(api->history);
    documents_close(api->documents);
    forms_close(api);
    journal_close(api->journal);
    arena_close(a);
    return ok;
}
