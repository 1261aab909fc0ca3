/* fleet.c -- the models of `lisao serve`.
 *
 * Of each model its bundle is open from start to end. What loading makes, the plan with the packed
 * weights and the engine, lies in an arena of its own, which unloading closes. All engines run on
 * one team; a model is packed by another one, since the first may be at work. */
#include "cli/fleet.h"

/* DRAFTS: rows of a step for tokens that are given, as evaluations ask for. */
enum { DRAFTS = 256 };
#define GUEST_IDLE "5m"

/* A file of weights, as it was when it was opened. */
typedef struct Part {
    const char *path;
    FileStamp stamp;
} Part;

typedef struct Ship {
    Fleet *fleet;
    Part *part; /* (n_parts) */
    int64_t n_parts;
    Session s;   /* without a plan; its team is the fleet's */
    Arena *home; /* of a guest: this */
    PlanSpec plan;
    EngineSpec engine;
    Arena *arena; /* of what is loaded; NULL: nothing is */
    Plan *planned;
    Engine *running;
} Ship;

struct Fleet {
    FleetSpec spec;
    Ship *ship; /* (n) opened so far */
    ServeModel *model;
    int64_t n;
    Team *team, *packers; /* the same where nothing is loaded while others run */
};

/* ---- settings -------------------------------------------------------------------------------- */

bool duration_read(double *seconds, const char *text, Err *err) {
    static const struct {
        char name;
        double seconds;
    } unit[] = {{'s', 1}, {'m', 60}, {'h', 3600}};
    Str number = str_of(text);
    double scale = 1;
    for (int64_t i = 0; number.n && i < COUNT(unit); i++)
        if (text[number.n - 1] == unit[i].name) {
            scale = unit[i].seconds, number.n--;
            break;
        }
    if (!str_f64(number, seconds) || *seconds < 0 || *seconds > 1e9)
        return err_set(err, ERR_USAGE, "idle must be a time as 90s, 10m or 2h, not '%s'", text);
    *seconds *= scale;
    return true;
}

/* "models/SmolLM2.gguf" is SmolLM2. */
static const char *model_name(const Session *s, const char *given) {
    Str name = str_of(given ? given : s->bundle.path);
    if (given) return given;
    for (int64_t i = name.n; i > 0; i--)
        if (name.p[i - 1] == '/' && i < name.n) {
            name.p += i, name.n -= i;
            break;
        }
    if (str_ends(name, STR(".gguf"))) name.n -= 5;
    return str_copy(s->arena, name).p;
}

static bool name_is_new(const Fleet *f, const char *name, Err *err) {
    for (int64_t i = 0; i < f->n; i++)
        if (!strcmp(f->model[i].name, name))
            return err_set(err, ERR_USAGE,
                           "two models are called %s: give one another name (name: in the list of "
                           "--config)",
                           name);
    return true;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Pages for half of the conversations at full length, since few are that long; fewer where memory
 * is short, at least for one. */
static bool size_find(Ship *p, const ModelSettings *o, int64_t positions, int64_t *bytes,
                      Err *err) {
    const Fleet *f = p->fleet;
    const int64_t one = round_up(positions, PAGE) / PAGE, most = serve_memory(f->spec.memory);
    Model *m = p->s.bundle.model;
    EngineSpec *e = &p->engine;
    *e = (EngineSpec){.seqs = o->parallel,
                      .queue = f->spec.queue,
                      .rows = MAX(RUN_ROWS, o->parallel),
                      .chunk = RUN_ROWS / 2,
                      .drafts = DRAFTS,
                      .inside = true,
                      .pages = MAX(one, one * o->parallel / 2),
                      .queue_tokens = MAX(positions, f->spec.queue * MIN(positions, QUEUE_PROMPT))};
    session_drafts(&p->s, e);
    for (;; e->pages = MAX(one, e->pages / 2)) {
        Arena *scratch = arena_open("count", ARENA_NO_LIMIT);
        Plan *count;
        engine_plan(&p->plan, m, e, positions, f->team);
        p->plan.results = generation_bytes(e->pages * PAGE, 0);
        const bool ok = plan_count(&count, scratch, m, &p->plan, team_threads(f->team), err);
        *bytes = ok ? count->bytes : 0;
        arena_close(scratch);
        if (!ok || *bytes <= most || e->pages == one) return ok;
    }
}

/* A single one is refused by its own plan, which names its largest parts. */
static bool size_check(const Fleet *f, const char *name, int64_t bytes, Err *err) {
    const int64_t most = serve_memory(f->spec.memory);
    return f->spec.n == 1 || bytes <= most
           || err_set(err, ERR_LIMIT,
                      "%s needs %.1f MB, and there are %.1f MB for all models: give it a smaller "
                      "context or parallel, or take a smaller model",
                      name, (double)bytes / 1e6, (double)most / 1e6);
}

/* ---- files that change ----------------------------------------------------------------------- */

static bool parts_note(Ship *p, Err *err) {
    const Store *s = p->s.bundle.store;
    p->part = PUSH(p->s.arena, Part, store_count(s));
    for (int64_t i = 0; i < store_count(s); i++) {
        const char *path = store_at(s, i)->file;
        if (p->n_parts && !strcmp(p->part[p->n_parts - 1].path, path)) continue;
        Part *to = &p->part[p->n_parts++];
        to->path = path;
        if (!os_stamp(&to->stamp, path, err)) return false;
    }
    return true;
}

/* Another file under the same name is no matter: this one stays what it is for who has it open. */
static const char *ship_changed(void *arg) {
    const Ship *p = arg;
    for (const Part *q = p->part; q < p->part + p->n_parts; q++) {
        FileStamp now;
        Err gone = {0};
        if (os_stamp(&now, q->path, &gone) && now.inode == q->stamp.inode
            && (now.size != q->stamp.size || now.modified != q->stamp.modified))
            return q->path;
    }
    return NULL;
}

static bool parts_check(Ship *p, Err *err) {
    const char *path = ship_changed(p);
    return !path
           || err_set(err, ERR_IO,
                      "%s was written to since the service began: its tokenizer and settings in "
                      "memory are those of before; start the service again",
                      path);
}

/* ---- loading --------------------------------------------------------------------------------- */

static bool keeps_prompts(const Ship *p) { return p->fleet->spec.prompts && !p->home; }

static void ship_unload(void *arg) {
    Ship *p = arg;
    if (p->running && keeps_prompts(p)) {
        if (!ship_changed(p)) engine_keep(p->running);
        engine_store_close(p->running);
    }
    if (p->arena) arena_close(p->arena);
    p->arena = NULL, p->running = NULL, p->planned = NULL;
}

/* Computed prompts of earlier times; of several models each has a folder, and guests come once. */
static bool prompts_open(Ship *p, Engine *e, Err *err) {
    const FleetSpec *s = &p->fleet->spec;
    const char *folder = s->prompts;
    if (!keeps_prompts(p)) return true;
    if (s->n > 1) folder = str_fmt(p->arena, "%s/%.16s", folder, p->planned->fingerprint).p;
    return engine_store(e, p->arena, folder, s->prompt_bytes, err);
}

static bool ship_load(void *arg, int64_t limit, Engine **engine, const char **fingerprint,
                      Err *err) {
    Ship *p = arg;
    const Fleet *f = p->fleet;
    p->arena = arena_open("engine", ARENA_NO_LIMIT);
    if (parts_check(p, err)
        && plan_new(&p->planned, p->arena, p->s.bundle.model, &p->plan, limit, f->packers, err)
        && engine_new(engine, p->arena, p->planned, &p->engine, f->team, err) && parts_check(p, err)
        && prompts_open(p, *engine, err)) {
        p->running = *engine;
        *fingerprint = p->planned->fingerprint;
        return true;
    }
    ship_unload(p);
    return false;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void ship_close(Ship *p) {
    ship_unload(p);
    p->s.team = NULL;
    session_close(&p->s);
}

/* A model without a chat template continues texts. */
static bool chat_load_some(Bundle *b, Err *err) {
    Str text;
    return bundle_template(b, &text, err) && (text.n == 0 || bundle_load(b, BUNDLE_CHAT, err));
}

/* ship_close also after a failure. */
static bool ship_open(Ship *p, ServeModel *m, const ModelSettings *o, Err *err) {
    Fleet *f = p->fleet;
    FileStamp stamp = {0};
    p->s.team = f->team;
    enum { PARTS = BUNDLE_MODEL | BUNDLE_TOKENIZER };
    const bool open = session_open(&p->s, o->path, PARTS, &o->opts, &p->plan, err)
                      && chat_load_some(&p->s.bundle, err);
    if (!f->team) f->team = p->s.team;
    if (!open) return false;
    *m = (ServeModel){.name = model_name(&p->s, o->name),
                      .bundle = &p->s.bundle,
                      .context = context_bounded(&p->s, o->context),
                      .load = ship_load,
                      .unload = ship_unload,
                      .changed = ship_changed,
                      .arg = p};
    if (!os_stamp(&stamp, p->s.bundle.path, err) || !parts_note(p, err)) return false;
    m->created = stamp.modified / 1000000000;
    return (!o->idle || duration_read(&m->idle, o->idle, err))
           && size_find(p, o, m->context, &m->bytes, err) && size_check(f, m->name, m->bytes, err);
}

static bool loads_later(const Fleet *f) {
    bool later = f->n > 1 || f->spec.guests;
    for (int64_t i = 0; i < f->n; i++) later |= f->model[i].idle > 0;
    return later;
}

bool fleet_open(Fleet **out, Arena *a, const FleetSpec *spec, Err *err) {
    Fleet *f = *out = PUSH(a, Fleet, 1);
    *f = (Fleet){.spec = *spec};
    f->ship = PUSH(a, Ship, spec->n), f->model = PUSH(a, ServeModel, spec->n);
    for (; f->n < spec->n; f->n++) {
        Ship *p = &f->ship[f->n];
        *p = (Ship){.fleet = f};
        if (!ship_open(p, &f->model[f->n], &spec->model[f->n], err)
            || !name_is_new(f, f->model[f->n].name, err)) {
            ship_close(p);
            return false;
        }
    }
    f->packers = loads_later(f) ? team_open(team_threads(f->team)) : f->team;
    return true;
}

/* Its idle time is not the first model's: it stays for somebody who tries it out. */
bool fleet_invite(void *fleet, const char *path, const char *name, ServeModel *m, Err *err) {
    Fleet *f = fleet;
    ModelSettings o = f->spec.model[0];
    Arena *home = arena_open("guest", ARENA_NO_LIMIT);
    Ship *p = PUSH(home, Ship, 1);
    o.path = path, o.name = name, o.idle = GUEST_IDLE;
    *p = (Ship){.fleet = f, .home = home};
    const bool fine = ship_open(p, m, &o, err);
    if (!fine) {
        ship_close(p);
        arena_close(home);
    }
    return fine;
}

void fleet_dismiss(void *fleet, const ServeModel *m) {
    Ship *p = m->arg;
    Arena *home = p->home;
    (void)fleet;
    ship_close(p);
    arena_close(home);
}

const ServeModel *fleet_models(const Fleet *f) { return f->model; }

void fleet_close(Fleet *f) {
    if (!f) return;
    for (int64_t i = 0; i < f->n; i++) ship_close(&f->ship[i]);
    if (f->packers && f->packers != f->team) team_close(f->packers);
    if (f->team) team_close(f->team);
}
