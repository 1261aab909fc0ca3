/* kept.c -- the events of streams are kept for some minutes, so that a client which lost its
 * connection takes its stream up again: GET and DELETE /streams/ID.
 *
 * Events lie in blocks, each in an arena of its own; of a stream that is too long the oldest blocks
 * go. Those who take a stream up are readers: each sweep gives them what they have room for, so
 * that none holds up another or the answer. The API's lock guards it all. */
#include "serve/api.h"

enum { STREAMS = 256, STREAMS_TENANT = 64, READERS = 256 };
enum { BLOCK = 60 << 10, STREAM_BYTES = 4 << 20, ALL_BYTES = 64 << 20 };
static const double KEEP_SECONDS = 300, SILENT_SECONDS = 10;

typedef struct Block {
    struct Block *next;
    Arena *a;
    int64_t n, cap; /* bytes: each event behind its length, an int32_t */
    char *at;
} Block;

struct Kept {
    Arena *a;
    char id[48], tenant[KEY_NAME];
    Job *job; /* NULL: it is over */
    const char *status;
    Block *head, *tail;
    int64_t first, n; /* events first..n-1 are here */
    int64_t bytes;
    double ended;
};

typedef struct Reader {
    Exchange *x; /* NULL: the place is free */
    Kept *stream;
    int64_t next; /* event */
    Block *block; /* that has it, which begins at byte `at`; NULL: to be found */
    int64_t at;
    double wrote;
} Reader;

struct Streams {
    Kept *stream[STREAMS]; /* NULL: a free place */
    Reader reader[READERS];
    int64_t bytes; /* of all blocks */
    bool closed;
};

Streams *streams_new(Arena *a) { return PUSH(a, Streams, 1); }

/* ---- events ---------------------------------------------------------------------------------- */

static int64_t event_bytes(const Block *b, int64_t at) {
    int32_t n;
    memcpy(&n, b->at + at, sizeof n);
    return n;
}

/* Readers that were there look for their place anew. */
static void block_drop(Streams *all, Kept *s) {
    Block *b = s->head;
    for (int64_t at = 0; at < b->n; at += (int64_t)sizeof(int32_t) + event_bytes(b, at)) s->first++;
    for (int64_t i = 0; i < READERS; i++)
        if (all->reader[i].block == b) all->reader[i].block = NULL;
    s->head = b->next;
    if (!s->head) s->tail = NULL;
    s->bytes -= b->cap, all->bytes -= b->cap;
    arena_close(b->a);
}

static void reader_end(Reader *r) {
    exchange_end(r->x);
    *r = (Reader){0};
}

static void stream_drop(Streams *all, Kept **place) {
    Kept *s = *place;
    for (int64_t i = 0; i < READERS; i++)
        if (all->reader[i].x && all->reader[i].stream == s) reader_end(&all->reader[i]);
    while (s->head) block_drop(all, s);
    *place = NULL;
    arena_close(s->a);
}

/* Drops the one of those that are over that ended first, of one tenant or of all. */
static bool oldest_drop(Streams *all, const char *tenant) {
    Kept **best = NULL;
    for (int64_t i = 0; i < STREAMS; i++) {
        Kept **at = &all->stream[i];
        if (!*at || (*at)->job || (tenant && strcmp((*at)->tenant, tenant))) continue;
        if (!best || (*at)->ended < (*best)->ended) best = at;
    }
    if (best) stream_drop(all, best);
    return best;
}

static void block_add(Streams *all, Kept *s, int64_t least) {
    const int64_t cap = MAX(BLOCK, least);
    while (s->head && s->bytes + cap > STREAM_BYTES) block_drop(all, s);
    while (all->bytes + cap > ALL_BYTES && oldest_drop(all, NULL)) continue;
    while (all->bytes + cap > ALL_BYTES && s->head) block_drop(all, s);
    Arena *a = arena_open("stream", cap + (int64_t)sizeof(Block) + 64);
    Block *b = PUSH(a, Block, 1);
    *b = (Block){.a = a, .cap = cap, .at = PUSH(a, char, cap)};
    if (s->tail) s->tail->next = b;
    s->tail = b;
    if (!s->head) s->head = b;
    s->bytes += cap, all->bytes += cap;
}

void kept_add(Api *api, Kept *s, Str event) {
    const int32_t n = (int32_t)event.n;
    const int64_t need = (int64_t)sizeof n + event.n;
    monitor_enter(api->lock);
    if (!s->tail || s->tail->n + need > s->tail->cap) block_add(api->streams, s, need);
    Block *b = s->tail;
    memcpy(b->at + b->n, &n, sizeof n);
    memcpy(b->at + b->n + sizeof n, event.p, (size_t)event.n);
    b->n += need, s->n++;
    monitor_leave(api->lock);
}

/* ---- streams --------------------------------------------------------------------------------- */

static int64_t streams_of(const Streams *all, const char *tenant) {
    int64_t n = 0;
    for (int64_t i = 0; i < STREAMS; i++)
        n += all->stream[i] && (!tenant || !strcmp(all->stream[i]->tenant, tenant));
    return n;
}

static Kept *kept_new(Streams *all, Job *j) {
    if (streams_of(all, j->tenant) >= STREAMS_TENANT && !oldest_drop(all, j->tenant)) return NULL;
    if (streams_of(all, NULL) == STREAMS && !oldest_drop(all, NULL)) return NULL;
    Arena *a = arena_open("kept stream", ARENA_NO_LIMIT);
    Kept *s = PUSH(a, Kept, 1);
    *s = (Kept){.a = a, .job = j, .status = "running"};
    snprintf(s->id, sizeof s->id, "%s", j->id);
    snprintf(s->tenant, sizeof s->tenant, "%s", j->tenant);
    int64_t i = 0;
    while (all->stream[i]) i++;
    return all->stream[i] = s;
}

void kept_begin(Job *j) {
    monitor_enter(j->api->lock);
    j->kept = kept_new(j->api->streams, j);
    monitor_leave(j->api->lock);
}

void kept_end(Job *j, const char *status) {
    if (!j->kept) return;
    monitor_enter(j->api->lock);
    j->kept->job = NULL, j->kept->status = status;
    j->kept->ended = j->kept->n ? os_now() : -KEEP_SECONDS; /* nobody knows of one without events */
    monitor_leave(j->api->lock);
    j->kept = NULL;
}

/* ---- readers --------------------------------------------------------------------------------- */

/* Finds where its next event begins. */
static void reader_place(Reader *r) {
    int64_t number = r->stream->first;
    for (Block *b = r->stream->head; b; b = b->next)
        for (int64_t at = 0; at < b->n; at += (int64_t)sizeof(int32_t) + event_bytes(b, at))
            if (number++ == r->next) {
                r->block = b, r->at = at;
                return;
            }
}

/* One event, where there is room; false: no more now. */
static bool reader_step(Reader *r, int64_t room) {
    if (r->next >= r->stream->n) return false;
    if (r->block && r->at == r->block->n) r->block = r->block->next, r->at = 0;
    if (!r->block) reader_place(r);
    const int64_t n = event_bytes(r->block, r->at);
    const Str event = {r->block->at + r->at + sizeof(int32_t), n};
    if (n > room || !exchange_write(r->x, event)) return false;
    r->at += (int64_t)sizeof(int32_t) + n, r->next++;
    r->wrote = os_now();
    return true;
}

/* Ends where its client has left, where it has all, or where it was too slow for what is kept. */
static void reader_feed(Reader *r) {
    int64_t room;
    bool gone = false;
    do {
        room = exchange_room(r->x);
        gone = room < 0 || r->next < r->stream->first;
    } while (!gone && reader_step(r, room));
    if (gone || (!r->stream->job && r->next == r->stream->n)) {
        reader_end(r);
    } else if (os_now() - r->wrote > SILENT_SECONDS && room > 64) {
        exchange_write(r->x, STR(": keep-alive\n\n"));
        r->wrote = os_now();
    }
}

void streams_sweep(Api *api) {
    Streams *all = api->streams;
    const double now = os_now();
    monitor_enter(api->lock);
    for (int64_t i = 0; i < READERS; i++)
        if (all->reader[i].x) reader_feed(&all->reader[i]);
    for (int64_t i = 0; i < STREAMS; i++)
        if (all->stream[i] && !all->stream[i]->job && now - all->stream[i]->ended > KEEP_SECONDS)
            stream_drop(all, &all->stream[i]);
    monitor_leave(api->lock);
}

void streams_close(Api *api) {
    Streams *all = api->streams;
    monitor_enter(api->lock);
    all->closed = true;
    for (int64_t i = 0; i < STREAMS; i++)
        if (all->stream[i]) stream_drop(all, &all->stream[i]);
    monitor_leave(api->lock);
}

/* ---- requests -------------------------------------------------------------------------------- */

const char kept_types[] =
    "type StreamEvent = ChatEvent | CompletionEvent | MessageEvent | ResponseEvent;\n"
    "type Stream = {id: string; object: 'stream';\n"
    "  status: 'running' | 'completed' | 'failed' | 'cancelled'};\n";

/* The last event that the client has; -1: none. */
static bool after_read(Call *c, int64_t *after) {
    Str text = exchange_header(c->x, "last-event-id");
    if (!text.p) text = exchange_member(c->x, "after");
    if (!text.p) text = exchange_member(c->x, "starting_after");
    *after = -1;
    return !text.p || (str_i64(text, after) && *after >= 0)
           || fault_value(&c->fault, "after",
                          "the last event must be a number of 0 or more: the header Last-Event-ID "
                          "or the query after=N");
}

static Str stream_id(const Call *c) {
    Str rest = {c->path.p + 1, c->path.n - 1};
    str_cut(&rest, '/');
    return str_cut(&rest, '/');
}

/* Under the lock. Of other tenants' streams nothing is told. */
static Kept *stream_find(Call *c) {
    const Streams *all = c->api->streams;
    for (int64_t i = 0; i < STREAMS; i++) {
        Kept *s = all->stream[i];
        if (s && str_eq(stream_id(c), str_of(s->id)) && !strcmp(s->tenant, c->key.tenant)) return s;
    }
    fault_set(&c->fault, 404, "invalid_request_error", "stream_not_found", NULL,
              "there is no stream '%.*s': it is not kept any more, or was never",
              STRF(stream_id(c)));
    return NULL;
}

static Reader *reader_place_free(Call *c) {
    Streams *all = c->api->streams;
    for (int64_t i = 0; i < READERS && !all->closed; i++)
        if (!all->reader[i].x) return &all->reader[i];
    fault_set(&c->fault, 503, "server_error", "overloaded", NULL,
              "%d streams are being read again, which is the most", READERS);
    return NULL;
}

static bool after_check(Call *c, const Kept *s, int64_t after) {
    if (after >= s->n)
        return fault_value(&c->fault, "after", "the stream has had %lld events; there is no %lld",
                           (long long)s->n, (long long)after);
    return after + 1 >= s->first
           || fault_set(&c->fault, 410, "invalid_request_error", "events_expired", "after",
                        "events before %lld are not kept any more", (long long)s->first);
}

void answer_stream(Call *c) {
    int64_t after;
    if (!after_read(c, &after)) return;
    monitor_enter(c->api->lock);
    Kept *s = stream_find(c);
    Reader *r = s && after_check(c, s, after) ? reader_place_free(c) : NULL;
    if (r) {
        exchange_head(c->x, "x-lisao-stream", s->id);
        exchange_begin(c->x, 200, "text/event-stream; charset=utf-8");
        *r = (Reader){.x = c->x, .stream = s, .next = after + 1, .wrote = os_now()};
        reader_feed(r);
    }
    monitor_leave(c->api->lock);
}

void answer_stream_cancel(Call *c) {
    char id[48];
    const char *status = NULL;
    monitor_enter(c->api->lock);
    Kept *s = stream_find(c);
    if (s) {
        snprintf(id, sizeof id, "%s", s->id);
        status = s->status;
        if (s->job) s->job->gone = true;
    }
    monitor_leave(c->api->lock);
    if (s)
        answer_json(c,
                    json_pack("{s:s, s:s, s:s}", "id", id, "object", "stream", "status", status));
}
