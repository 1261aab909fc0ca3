/* keeper.c -- a thread for what is neither HTTP nor a model: SIGHUP, which has settings and keys
 * looked at again, and what systemd is told. */
#include "serve/api.h"

static const double LOOK = 0.1; /* seconds */

struct Keeper {
    Api *api;
    Queue *end; /* closed at the end; never holds anything */
    LoneThread *thread;
};

void api_key_set(Api *api, const char *key) {
    Sha256 hash;
    char hex[65];
    sha256_init(&hash);
    sha256_add(&hash, key, (int64_t)strlen(key));
    sha256_hex(&hash, hex);
    monitor_enter(api->lock);
    const bool differs = strcmp(hex, api->key) != 0;
    memcpy(api->key, hex, sizeof hex);
    monitor_leave(api->lock);
    if (differs) journal_say(api->journal, "reload", "the API key is another one");
}

static void certificate_again(Api *api, Buf *said) {
    bool differs;
    Err err = {0};
    if (!server_certificate(api->http, &differs, &err))
        buf_fmt(said, "the certificate stays as it was: %s\n", err.msg);
    else if (differs)
        buf_fmt(said, "the certificate is another one\n");
}

static void reload(Api *api) {
    const ServeSpec *spec = api->spec;
    Arena *a = arena_open("reload", ARENA_NO_LIMIT);
    const char *key = NULL;
    Buf said = {.a = a};
    Err err = {0};
    service_notify("RELOADING=1");
    if (spec->reload && !spec->reload(spec->reload_arg, a, &key, &said, &err))
        journal_say(api->journal, "reload", "the settings stay as they were: %s", err.msg);
    else if (key && spec->api_key)
        api_key_set(api, key);
    if (api->gate) gate_changes(api->gate, &said);
    certificate_again(api, &said);
    const Str all = said.n ? buf_str(&said) : STR("nothing else has changed\n");
    for (Str rest = all; rest.n;) {
        const Str line = str_cut(&rest, '\n');
        journal_say(api->journal, "reload", "%.*s", STRF(line));
    }
    service_notify("READY=1");
    arena_close(a);
}

static void drain_say(Api *api) {
    const Counts now = counts_now(api);
    service_notify("STOPPING=1");
    journal_say(api->journal, "drain", "no new requests are let in; %lld are under way",
                (long long)(now.running + now.waiting));
}

static void keeper_run(void *arg) {
    const Keeper *k = arg;
    Api *api = k->api;
    bool said = false;
    char nothing;
    for (bool open = true; open;) {
        open = queue_pop(k->end, &nothing, LOOK) != QUEUE_CLOSED;
        if (open && os_hung_up()) reload(api);
        if (!said && api_drains(api)) drain_say(api), said = true;
    }
}

bool keeper_open(Keeper **out, Arena *a, Api *api, Err *err) {
    Keeper *k = *out = PUSH(a, Keeper, 1);
    *k = (Keeper){.api = api, .end = queue_new(a, 1, 1)};
    return lone_start(&k->thread, a, keeper_run, k, err);
}

void keeper_close(Keeper *k) {
    if (!k) return;
    queue_close(k->end);
    lone_join(k->thread);
}
