/* gate.c -- who is let in, how much of it, and what was used.
 *
 * Either one key, which was given at the start, or those of a store (keys.h), of which the first
 * start makes one. Usage is written by a thread of its own, since a disk may take its time: what
 * ended is on the disk a moment later, and in any case before the service has ended. */
#include "serve/api.h"
#include "serve/limiter.h"

enum { LIMITED_KEYS = 4096, LEDGER = 4096, REFUSED_KEYS = 256 };

typedef struct Entry {
    int64_t key, when;
    Usage usage;
} Entry;

typedef struct Refusal {
    int64_t key, n;
} Refusal;

typedef struct View {
    Arena *arena;
    Key *key; /* (n) by id */
    int64_t n;
} View;

struct Gate {
    Keys *keys;
    View view;        /* the keys as they were when somebody last asked for changes */
    Limiter *limiter; /* the API's lock guards it */
    Queue *ledger;    /* Entry */
    LoneThread *clerk;
    Monitor *lock;                 /* of what is below */
    Refusal refused[REFUSED_KEYS]; /* (n_refused) since the clerk last wrote */
    int64_t n_refused;
    char first[KEY_TEXT]; /* the key that this start made; empty: none */
};

/* ---- opening --------------------------------------------------------------------------------- */

static void usage_write(Gate *g, const Entry *e) {
    Err err = {0};
    if (!usage_add(g->keys, e->key, e->when, &e->usage, &err))
        log_at(LOG_ERROR, "the usage of key %lld was not written: %s", (long long)e->key, err.msg);
}

static bool refusal_take(Gate *g, Refusal *r) {
    monitor_enter(g->lock);
    const bool some = g->n_refused > 0;
    if (some) *r = g->refused[--g->n_refused];
    monitor_leave(g->lock);
    return some;
}

static void refusals_write(Gate *g) {
    for (Refusal r; refusal_take(g, &r);)
        usage_write(g, &(Entry){r.key, os_time(), {.refused = r.n}});
}

static void clerk_run(void *arg) {
    Gate *g = arg;
    Entry e;
    for (QueueResult got; (got = queue_pop(g->ledger, &e, 1)) != QUEUE_CLOSED;) {
        if (got == QUEUE_ITEM) usage_write(g, &e);
        refusals_write(g);
    }
    refusals_write(g);
}

static bool first_make(Gate *g, Err *err) {
    Key key = {.name = "first", .tenant = "first", .scopes = SCOPE_ALL, .limits = {.weight = 1}};
    return keys_count(g->keys) > 0 || keys_create(g->keys, &key, g->first, err);
}

static bool view_read(Gate *g, Err *err) {
    View v = {.arena = arena_open("keys", ARENA_NO_LIMIT)};
    if (!keys_list(g->keys, v.arena, &v.key, &v.n, err)) return arena_close(v.arena), false;
    if (g->view.arena) arena_close(g->view.arena);
    g->view = v;
    return true;
}

bool gate_open(Gate **out, Arena *a, const char *data, bool makes_first, Err *err) {
    Gate *g = *out = PUSH(a, Gate, 1);
    *g = (Gate){.limiter = limiter_new(a, LIMITED_KEYS),
                .ledger = queue_new(a, LEDGER, sizeof(Entry)),
                .lock = monitor_new(a)};
    return keys_open(&g->keys, a, data, err) && (!makes_first || first_make(g, err))
           && view_read(g, err) && lone_start(&g->clerk, a, clerk_run, g, err);
}

void gate_close(Gate *g) {
    if (!g) return;
    queue_close(g->ledger);
    lone_join(g->clerk);
    if (g->view.arena) arena_close(g->view.arena);
    keys_close(g->keys);
}

Keys *gate_keys(Gate *g) { return g->keys; }
const char *gate_first(const Gate *g) { return g && *g->first ? g->first : NULL; }

/* ---- what became of keys --------------------------------------------------------------------- */

static void limit_show(Buf *out, const char *what, int64_t was, int64_t is) {
    if (was != is) buf_fmt(out, ", %s %lld (was %lld)", what, (long long)is, (long long)was);
}

static void key_compare(Buf *out, const Key *was, const Key *is) {
    Buf all = {.a = out->a};
    const KeyLimits *a = &was->limits, *b = &is->limits;
    if (!was->revoked && is->revoked) buf_add(&all, STR(", revoked"));
    limit_show(&all, "scopes", was->scopes, is->scopes);
    limit_show(&all, "requests a minute", a->requests_minute, b->requests_minute);
    limit_show(&all, "tokens a minute", a->tokens_minute, b->tokens_minute);
    limit_show(&all, "tokens a day", a->tokens_day, b->tokens_day);
    limit_show(&all, "requests at a time", a->concurrent, b->concurrent);
    limit_show(&all, "expires", was->expires, is->expires);
    if (all.n)
        buf_fmt(out, "key %lld (%s): %.*s\n", (long long)is->id, is->name, (int)all.n - 2,
                all.p + 2);
}

static const Key *key_in(const View *v, int64_t id) {
    for (int64_t i = 0; i < v->n; i++)
        if (v->key[i].id == id) return &v->key[i];
    return NULL;
}

void gate_changes(Gate *g, Buf *out) {
    Err err = {0};
    const View was = g->view;
    g->view.arena = NULL; /* view_read leaves it alone */
    if (!view_read(g, &err)) {
        g->view = was;
        buf_fmt(out, "%s\n", err.msg);
        return;
    }
    for (int64_t i = 0; i < g->view.n; i++) {
        const Key *is = &g->view.key[i], *before = key_in(&was, is->id);
        if (before)
            key_compare(out, before, is);
        else
            buf_fmt(out, "key %lld (%s): new\n", (long long)is->id, is->name);
    }
    arena_close(was.arena);
}

/* ---- letting in ------------------------------------------------------------------------------ */

/* The key, whichever header brings it: one rule for all routes. */
static Str key_given(Exchange *x) {
    static const char *const header[] = {"authorization", "x-api-key", "api-key"};
    Str key = {0};
    for (int64_t i = 0; i < COUNT(header) && !key.p; i++) key = exchange_header(x, header[i]);
    return key;
}

/* Hashes are compared, all of their bytes, so that time tells nothing of the key. */
static bool is_the_key(Api *api, Str key) {
    char hex[65], one[65];
    Sha256 hash;
    int differ = 0;
    if (key.n > 7 && str_eq_caseless((Str){key.p, 7}, STR("bearer "))) key.p += 7, key.n -= 7;
    key = str_trim(key, " ");
    sha256_init(&hash);
    if (key.p) sha256_add(&hash, key.p, key.n);
    sha256_hex(&hash, hex);
    monitor_enter(api->lock);
    memcpy(one, api->key, sizeof one);
    monitor_leave(api->lock);
    for (int i = 0; i < 64; i++) differ |= hex[i] ^ one[i];
    return !differ;
}

void gate_secret(Gate *g, const char *purpose, uint8_t secret[32]) {
    keys_secret(g->keys, purpose, secret);
}

bool gate_enter(Call *c, KeyScope scope) {
    Api *api = c->api;
    const Str key = key_given(c->x);
    const bool one = api->spec->api_key;
    if (!one && !api->gate) return true;
    if (one ? !is_the_key(api, key) : !key.p || !keys_check(api->gate->keys, key, &c->key))
        return fault_set(&c->fault, 401, "invalid_request_error", "invalid_api_key", NULL,
                         key.p ? "the API key is not valid"
                               : "there is no API key: send it as 'Authorization: Bearer KEY' or "
                                 "'x-api-key: KEY'");
    ExchangeNote *note = exchange_note(c->x);
    note->key = c->key.id;
    snprintf(note->tenant, sizeof note->tenant, "%s", c->key.tenant);
    if (!c->key.id || c->key.scopes & scope) return true;
    return fault_set(&c->fault, 403, "permission_error", "insufficient_scope", NULL,
                     "the API key is not for this route");
}

/* A client that asks on and on costs few writes: refusals are counted here, and written by the
 * clerk. Of more keys at a time than there is room for some are not counted. */
void gate_refused(const Call *c) {
    Gate *g = c->api->gate;
    int64_t i = 0;
    if (!g || !c->key.id) return;
    monitor_enter(g->lock);
    while (i < g->n_refused && g->refused[i].key != c->key.id) i++;
    if (i == g->n_refused && i < REFUSED_KEYS) g->refused[g->n_refused++] = (Refusal){c->key.id, 0};
    if (i < g->n_refused) g->refused[i].n++;
    monitor_leave(g->lock);
}

static bool too_early(Call *c, double wait) {
    gate_refused(c);
    c->fault.retry = (int64_t)wait + 1;
    return fault_set(&c->fault, 429, "rate_limit_error", "rate_limit_exceeded", NULL,
                     "the API key has used up its limit: try again in %lld seconds",
                     (long long)c->fault.retry);
}

/* Counts a request against its key's limits, or says when it may come again. */
bool gate_admit(Call *c, Job *j) {
    Gate *g = c->api->gate;
    int64_t tokens = 0;
    if (!g || !c->key.id) return true;
    for (int64_t i = 0; i < j->n; i++) tokens += j->choice[i].ask.n_prompt + j->choice[i].ask.given;
    monitor_enter(c->api->lock);
    const double wait = limiter_admit(g->limiter, c->key.id, &c->key.limits, tokens, os_now());
    monitor_leave(c->api->lock);
    j->key = c->key.id, j->limits = c->key.limits, j->admitted = tokens;
    if (wait <= 0) return true;
    j->key = 0;
    return too_early(c, wait);
}

bool gate_lets(Call *c) {
    const Gate *g = c->api->gate;
    if (!g || !c->key.id) return true;
    monitor_enter(c->api->lock);
    const double wait = limiter_wait(g->limiter, c->key.id, &c->key.limits, os_now());
    monitor_leave(c->api->lock);
    return wait <= 0 || too_early(c, wait);
}

/* A job that ended, or never began (used NULL). Prompts that came after the first, of a model that
 * has searched, are owed like answers. */
void gate_leave(Job *j, const Usage *used) {
    Gate *g = j->api->gate;
    if (!g || !j->key) return;
    monitor_enter(j->api->lock);
    const int64_t owed = used ? used->tokens_out + MAX(used->tokens_in - j->admitted, 0) : 0;
    if (used) limiter_spend(g->limiter, j->key, &j->limits, owed, os_now());
    limiter_done(g->limiter, j->key);
    monitor_leave(j->api->lock);
    const Entry e = {j->key, os_time(), used ? *used : (Usage){0}};
    if (used && !queue_try_push(g->ledger, &e)) usage_write(g, &e);
}
