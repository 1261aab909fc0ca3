/* limiter.c -- token buckets: each holds what may be asked for at once, and fills up again at an
 * even rate. One that was spent below nothing must fill up first. */
#include "serve/limiter.h"

static const double MINUTE = 60, DAY = 86400, RETRY = 1;

typedef struct Bucket {
    double level, at; /* at: when the level was right */
} Bucket;

typedef struct Account {
    int64_t id; /* 0: free */
    double used;
    int64_t running;
    Bucket requests, tokens, day;
} Account;

struct Limiter {
    Account *account;
    int64_t most;
};

Limiter *limiter_new(Arena *a, int64_t most) {
    CHECK(most > 0);
    Limiter *l = PUSH(a, Limiter, 1);
    *l = (Limiter){PUSH(a, Account, most), most};
    return l;
}

static Account *find(const Limiter *l, int64_t id) {
    for (int64_t i = 0; i < l->most; i++)
        if (l->account[i].id == id) return &l->account[i];
    return NULL;
}

/* The account, with full buckets where it is new: in place of the one that was idle for longest.
 * NULL: all are at work. */
static Account *account_of(Limiter *l, int64_t id, const KeyLimits *k, double now) {
    Account *a = find(l, id), *old = NULL;
    for (int64_t i = 0; !a && i < l->most; i++) {
        Account *b = &l->account[i];
        if (b->running == 0 && (!old || b->used < old->used)) old = b;
    }
    if (!a && old) {
        *old = (Account){.id = id,
                         .requests = {(double)k->requests_minute, now},
                         .tokens = {(double)k->tokens_minute, now},
                         .day = {(double)k->tokens_day, now}};
        a = old;
    }
    if (a) a->used = now;
    return a;
}

static void fill(Bucket *b, int64_t most, double period, double now) {
    const double more = MAX(now - b->at, 0) * (double)most / period;
    b->level = MIN(b->level + more, (double)most);
    b->at = MAX(now, b->at);
}

/* Seconds until `n` are in it. */
static double wait_for(Bucket *b, int64_t n, int64_t most, double period, double now) {
    if (most == 0) return 0;
    fill(b, most, period, now);
    const double missing = (double)MIN(n, most) - b->level;
    return missing > 1e-9 ? missing * period / (double)most : 0;
}

static void take(Bucket *b, int64_t n, int64_t most) {
    if (most) b->level -= (double)n;
}

/* Seconds until all buckets have what a request takes. */
static double wait_of(Account *a, const KeyLimits *k, int64_t tokens, double now) {
    const double requests = wait_for(&a->requests, 1, k->requests_minute, MINUTE, now),
                 minute = wait_for(&a->tokens, tokens, k->tokens_minute, MINUTE, now),
                 day = wait_for(&a->day, tokens, k->tokens_day, DAY, now);
    return MAX(requests, MAX(minute, day));
}

double limiter_wait(Limiter *l, int64_t id, const KeyLimits *k, double now) {
    Account *a = account_of(l, id, k, now);
    return a ? wait_of(a, k, 1, now) : RETRY;
}

double limiter_admit(Limiter *l, int64_t id, const KeyLimits *k, int64_t tokens, double now) {
    Account *a = account_of(l, id, k, now);
    if (!a || (k->concurrent && a->running >= k->concurrent)) return RETRY;
    const double wait = wait_of(a, k, tokens, now);
    if (wait > 0) return wait;
    take(&a->requests, 1, k->requests_minute);
    take(&a->tokens, tokens, k->tokens_minute);
    take(&a->day, tokens, k->tokens_day);
    a->running++;
    return 0;
}

void limiter_spend(Limiter *l, int64_t id, const KeyLimits *k, int64_t tokens, double now) {
    Account *a = account_of(l, id, k, now);
    if (!a) return;
    take(&a->tokens, tokens, k->tokens_minute);
    take(&a->day, tokens, k->tokens_day);
}

void limiter_done(Limiter *l, int64_t id) {
    Account *a = find(l, id);
    if (a && a->running > 0) a->running--;
}
