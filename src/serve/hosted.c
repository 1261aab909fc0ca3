/* hosted.c -- which models are loaded, and the thread that loads and unloads them. */
#include "serve/api.h"

enum { ORDERS = 4 };

struct Loader {
    Queue *orders; /* Hosted * */
    LoneThread *thread;
};

/* ---- what to do next ------------------------------------------------------------------------- */

static bool spare(const Hosted *m) { return m->state == HOST_IN && !m->jobs && !m->held; }

static bool tired(const Hosted *m, double now) {
    return spare(m) && (m->unwanted || (m->spec->idle > 0 && now - m->used >= m->spec->idle));
}

HostOrder hosts_next(Hosted *m, int64_t n, int64_t memory, double now) {
    Hosted *wanted = NULL, *oldest = NULL, *idle = NULL;
    int64_t taken = 0, busy = 0;
    for (Hosted *h = m; h < m + n; h++) {
        if (h->state == HOST_LOADING || h->state == HOST_LEAVING) return (HostOrder){0};
        if (h->state == HOST_OUT && h->held && (!wanted || h->since < wanted->since)) wanted = h;
        if (spare(h) && (!oldest || h->used < oldest->used)) oldest = h;
        if (tired(h, now)) idle = h;
        if (h->state == HOST_IN) taken += h->spec->bytes;
        if (h->state == HOST_IN && !spare(h)) busy += h->spec->bytes;
    }
    if (wanted && taken + wanted->spec->bytes <= memory)
        return (HostOrder){HOST_LOAD, wanted, memory - taken, busy};
    if (wanted && busy + wanted->spec->bytes > memory)
        return (HostOrder){HOST_REFUSE, wanted, 0, busy};
    if (wanted) return (HostOrder){HOST_UNLOAD, oldest, 0, busy};
    return (HostOrder){idle ? HOST_UNLOAD : HOST_REST, idle, 0, busy};
}

/* ---- loading --------------------------------------------------------------------------------- */

static void state_set(Api *api, Hosted *m, HostState state) {
    monitor_enter(api->lock);
    m->state = state;
    monitor_leave(api->lock);
}

static void load_note(Api *api, Hosted *m, Engine *engine, const char *fingerprint) {
    monitor_enter(api->lock);
    m->engine = engine, m->failed = !engine, m->state = engine ? HOST_IN : HOST_OUT;
    if (engine) snprintf(m->fingerprint, sizeof m->fingerprint, "%s", fingerprint);
    api->count.loads += engine != NULL, api->count.loaded += engine != NULL;
    monitor_leave(api->lock);
}

bool host_load(Api *api, Hosted *m, Err *err) {
    Engine *engine = NULL;
    const char *fingerprint = NULL;
    const bool ok = m->spec->load(m->spec->arg, m->limit, &engine, &fingerprint, err);
    load_note(api, m, ok ? engine : NULL, fingerprint);
    return ok;
}

static void host_unload(Api *api, Hosted *m) {
    m->spec->unload(m->spec->arg);
    monitor_enter(api->lock);
    m->engine = NULL, m->state = HOST_OUT;
    api->count.unloads++, api->count.loaded--;
    monitor_leave(api->lock);
}

/* Names are of the settings, never what a client sent. */
static void order_run(Api *api, Hosted *m) {
    const double from = os_now(), mb = (double)m->spec->bytes / 1e6;
    Err err = {0};
    if (host_state(api, m) == HOST_LEAVING) {
        host_unload(api, m);
        journal_say(api->journal, "unload", "%s gave back %.1f MB", m->spec->name, mb);
    } else if (host_load(api, m, &err)) {
        journal_say(api->journal, "load", "%s took %.1f MB and %.3f s", m->spec->name, mb,
                    os_now() - from);
    } else
        journal_say(api->journal, "load", "%s: %s", m->spec->name, err.msg);
}

/* The model is another's from host_leave on. */
static void loader_run(void *arg) {
    enum { HOUR = 3600 };
    Api *api = arg;
    Hosted *m;
    for (QueueResult got; (got = queue_pop(api->loader->orders, &m, HOUR)) != QUEUE_CLOSED;)
        if (got == QUEUE_ITEM) order_run(api, m), host_leave(api, m);
}

bool loader_open(Api *api, Arena *a, Err *err) {
    Loader *l = api->loader = PUSH(a, Loader, 1);
    *l = (Loader){.orders = queue_new(a, ORDERS, sizeof(Hosted *))};
    return lone_start(&l->thread, a, loader_run, api, err);
}

void host_order(Api *api, const HostOrder *o) {
    Hosted *m = o->m;
    m->limit = o->limit;
    host_take(api, m);
    state_set(api, m, o->act == HOST_LOAD ? HOST_LOADING : HOST_LEAVING);
    CHECK(queue_try_push(api->loader->orders, &m)); /* one at a time is under way */
}

/* ---- the table ------------------------------------------------------------------------------- */

bool hosts_open(Api *api, Arena *a, Err *err) {
    const ServeSpec *s = api->spec;
    api->n_hosts = s->n_models + (s->open ? GUESTS : 0);
    api->host = PUSH(a, Hosted, api->n_hosts);
    for (int64_t i = 0; i < s->n_models; i++) {
        Hosted *m = &api->host[i];
        Bundle *b = s->model[i].bundle;
        *m = (Hosted){.spec = &s->model[i], .bundle = b, .limit = s->memory, .used = os_now()};
        if (b->n_end
            && !lexicon_new(&m->lexicon, a, b->tok, b->model->cfg.V, b->end, b->n_end, err))
            return false;
    }
    return true;
}

static void guest_close(Api *api, const ServeModel *spec, Arena *a) {
    api->spec->shut(api->spec->open_arg, spec);
    arena_close(a);
}

void hosts_close(Api *api) {
    if (api->loader) {
        queue_close(api->loader->orders);
        lone_join(api->loader->thread);
    }
    for (Hosted *m = api->host; m < api->host + api->n_hosts; m++) {
        if (m->state == HOST_IN) host_unload(api, m);
        if (m->guest) guest_close(api, m->spec, m->guest);
    }
}

HostState host_state(Api *api, const Hosted *m) {
    monitor_enter(api->lock);
    const HostState state = m->state;
    monitor_leave(api->lock);
    return state;
}

/* What this process holds, nearly all of it models, is theirs as well as what is free. */
int64_t serve_memory(int64_t memory) {
    return memory ? memory : os_memory_free() + os_memory_now();
}

/* Inside the lock: the one of this very name. */
static Hosted *host_called(Api *api, Str name) {
    for (Hosted *m = api->host; m < api->host + api->n_hosts; m++)
        if (m->spec && str_eq(name, str_of(m->spec->name))) return m;
    return NULL;
}

/* Inside the lock: the one that a request means. */
static Hosted *host_named(Api *api, Str name) {
    Hosted *m = host_called(api, name);
    if (m) return m;
    const bool guest = api->spec->open && memchr(name.p, '@', (size_t)name.n); /* one that went */
    return (api->spec->n_models == 1 && !guest) || str_eq(name, STR("lisao")) ? api->host : NULL;
}

Hosted *host_find(Api *api, Str name) {
    monitor_enter(api->lock);
    Hosted *m = host_named(api, name);
    if (m) m->users++;
    monitor_leave(api->lock);
    return m;
}

Hosted *host_at(Api *api, int64_t i) {
    monitor_enter(api->lock);
    Hosted *m = api->host[i].spec ? &api->host[i] : NULL;
    if (m) m->users++;
    monitor_leave(api->lock);
    return m;
}

static void users_add(Api *api, Hosted *m, int64_t n) {
    monitor_enter(api->lock);
    m->users += n;
    monitor_leave(api->lock);
}

void host_take(Api *api, Hosted *m) { users_add(api, m, 1); }
void host_leave(Api *api, Hosted *m) { users_add(api, m, -1); }

/* ---- guests ---------------------------------------------------------------------------------- */

/* Inside the lock: a place that is empty, else the one whose guest was invited first and can go,
 * which is nobody's from now on. */
static Hosted *guest_place(Api *api) {
    Hosted *best = NULL;
    for (Hosted *m = api->host + api->spec->n_models; m < api->host + api->n_hosts; m++) {
        if (m->spec && (m->state != HOST_OUT || m->users || m->stale)) continue;
        if (!best || !m->spec || (best->spec && m->invited < best->invited)) best = m;
    }
    return best;
}

/* Inside the lock: of guests that are loaded and nobody's the one that was invited first. */
static void guest_unwant(Api *api) {
    Hosted *first = NULL;
    for (Hosted *m = api->host + api->spec->n_models; m < api->host + api->n_hosts; m++)
        if (m->state == HOST_IN && !m->users && (!first || m->invited < first->invited)) first = m;
    if (first) first->unwanted = true;
}

static bool guest_open(Api *api, Hosted *m, const char *path, const char *name, Err *err) {
    const ServeSpec *s = api->spec;
    Arena *a = arena_open("guest", ARENA_NO_LIMIT);
    ServeModel *spec = PUSH(a, ServeModel, 1);
    Lexicon *lexicon = NULL;
    if (!s->open(s->open_arg, path, str_copy(a, str_of(name)).p, spec, err)) {
        arena_close(a);
        return false;
    }
    const Bundle *b = spec->bundle;
    if (b->n_end && !lexicon_new(&lexicon, a, b->tok, b->model->cfg.V, b->end, b->n_end, err)) {
        guest_close(api, spec, a);
        return false;
    }
    monitor_enter(api->lock);
    m->spec = spec, m->bundle = spec->bundle, m->lexicon = lexicon, m->guest = a;
    m->failed = m->unwanted = false, m->fingerprint[0] = 0, m->invited = os_now();
    monitor_leave(api->lock);
    return true;
}

bool host_invite(Api *api, const char *path, const char *name, Err *err) {
    monitor_enter(api->lock);
    if (host_called(api, str_of(name))) {
        monitor_leave(api->lock);
        return true;
    }
    Hosted *m = guest_place(api);
    const ServeModel *gone = m ? m->spec : NULL;
    const Lexicon *words = m ? m->lexicon : NULL;
    Arena *guest = m ? m->guest : NULL;
    if (m) m->spec = NULL, m->guest = NULL;
    if (!m) guest_unwant(api);
    monitor_leave(api->lock);
    if (gone) {
        forms_forget(api, words);
        guest_close(api, gone, guest);
    }
    return m ? guest_open(api, m, path, name, err)
             : err_set(err, ERR_LIMIT, "%d checkpoints are in use, as many as may be", GUESTS);
}
