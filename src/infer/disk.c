/* disk.c -- full pages of the prefix tree in files: what memory has no room for any more, or what a
 * process leaves behind for the next.
 *
 * <folder>/KEY.page: a Head, the page as it lies in memory, and a checksum of both. KEY is the
 * SHA-256 of the plan's fingerprint, the tenant and all tokens up to the page's end, so a page of
 * another model, format or tenant is never found. A file is written in place and not made durable:
 * half of one is known by its length, a damaged one by its checksum, and both are removed. Of too
 * many files those that were not used for longest go. */
#include "infer/parts.h"

enum { FILES_MOST = 1 << 16, KEY_CHARS = 64 };
static const char MAGIC[8] = "LISAOKV1";
static const char ENDING[] = ".page";

typedef struct Head {
    char magic[8];
    int64_t bytes;
    char key[KEY_CHARS];
} Head;

typedef struct Entry {
    char key[KEY_CHARS + 1];
    int64_t used;
} Entry;

struct Disk {
    const char *folder, *fingerprint;
    int64_t page_bytes, file_bytes;
    Entry *entry; /* (most), of which there are n */
    int64_t n, most, clock;
    uint8_t *file; /* one file */
    Arena *scratch;
    DiskStats stats;
    bool failed; /* nothing is written any more */
};

/* ---- which files there are ------------------------------------------------------------------- */

static Entry *entry_of(Disk *d, const char *key) {
    for (int64_t i = 0; i < d->n; i++)
        if (!memcmp(d->entry[i].key, key, KEY_CHARS)) return &d->entry[i];
    return NULL;
}

static const char *path_of(const Disk *d, const char *key) {
    return str_fmt(d->scratch, "%s/%.*s%s", d->folder, KEY_CHARS, key, ENDING).p;
}

static void file_remove(Disk *d, Entry *x) {
    const Mark mark = arena_mark(d->scratch);
    Err none = {0};
    if (!os_remove(path_of(d, x->key), &none)) log_at(LOG_WARN, "%s", none.msg);
    *x = d->entry[--d->n];
    arena_pop(d->scratch, mark);
}

static void entry_add(Disk *d, const char *key, int64_t used) {
    if (d->n == d->most) {
        Entry *oldest = d->entry;
        for (int64_t i = 1; i < d->n; i++)
            if (d->entry[i].used < oldest->used) oldest = &d->entry[i];
        file_remove(d, oldest);
    }
    Entry *x = &d->entry[d->n++];
    memcpy(x->key, key, KEY_CHARS);
    x->key[KEY_CHARS] = 0, x->used = used;
}

/* Those of an earlier process, as old as their files. */
static bool files_find(Disk *d, Err *err) {
    Str *name;
    int64_t n;
    if (!os_list(d->scratch, &name, &n, d->folder, err)) return false;
    for (int64_t i = 0; i < n; i++) {
        FileStamp s;
        Err gone = {0};
        if (name[i].n != KEY_CHARS + (int64_t)sizeof ENDING - 1 || !str_ends(name[i], STR(".page"))
            || !os_stamp(&s, path_of(d, name[i].p), &gone))
            continue;
        entry_add(d, name[i].p, s.modified);
        d->clock = MAX(d->clock, s.modified);
    }
    return true;
}

bool disk_open(Disk **out, Arena *a, const char *folder, int64_t bytes, const Plan *p, Err *err) {
    Disk *d = PUSH(a, Disk, 1);
    const int64_t page = round_up(p->kv.page_bytes, 64),
                  file = (int64_t)sizeof(Head) + page + (int64_t)sizeof(uint64_t);
    CHECK(p->fingerprint[0]);
    if (bytes < file)
        return err_set(err, ERR_USAGE,
                       "keeping prompts in %s: it may have %lld bytes, and one page of 128 tokens "
                       "takes %lld",
                       folder, (long long)bytes, (long long)file);
    *d = (Disk){.folder = folder,
                .fingerprint = p->fingerprint,
                .page_bytes = page,
                .file_bytes = file,
                .most = MIN(bytes / file, FILES_MOST),
                .file = PUSH(a, uint8_t, file),
                .scratch = arena_open("names of pages", ARENA_NO_LIMIT)};
    d->entry = PUSH(a, Entry, d->most);
    const bool ok = os_mkdir(folder, err) && os_private(folder, err) && files_find(d, err);
    if (!ok) disk_close(d);
    *out = ok ? d : NULL;
    return ok;
}

void disk_close(Disk *d) {
    if (d) arena_close(d->scratch);
}

DiskStats disk_stats(const Disk *d) { return d ? d->stats : (DiskStats){0}; }

/* ---- pages ----------------------------------------------------------------------------------- */

void disk_key(const Disk *d, char key[65], const char *parent, int64_t tenant,
              const int32_t *token) {
    Sha256 h;
    sha256_init(&h);
    sha256_add(&h, d->fingerprint, KEY_CHARS);
    sha256_add(&h, &tenant, sizeof tenant);
    if (parent) sha256_add(&h, parent, KEY_CHARS);
    sha256_add(&h, token, PAGE * (int64_t)sizeof *token);
    sha256_hex(&h, key);
}

static Head head_of(const Disk *d, const char *key) {
    Head h = {.bytes = d->page_bytes};
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    memcpy(h.key, key, KEY_CHARS);
    return h;
}

static uint64_t sum_of(const Disk *d, const uint8_t *file) {
    return checksum(file, d->file_bytes - (int64_t)sizeof(uint64_t), 0);
}

bool disk_has(Disk *d, const char *key) { return d && entry_of(d, key); }

void disk_put(Disk *d, const char *key, const void *page) {
    const Head head = head_of(d, key);
    Err err = {0};
    if (d->failed || entry_of(d, key)) return;
    memcpy(d->file, &head, sizeof head);
    memcpy(d->file + sizeof head, page, (size_t)d->page_bytes);
    const uint64_t sum = sum_of(d, d->file);
    memcpy(d->file + d->file_bytes - sizeof sum, &sum, sizeof sum);
    entry_add(d, key, ++d->clock);
    const Mark mark = arena_mark(d->scratch);
    if (!os_append(path_of(d, key), (Str){(const char *)d->file, d->file_bytes}, &err)) {
        log_at(LOG_WARN, "prompts are not kept on disk any more: %s", err.msg);
        file_remove(d, &d->entry[d->n - 1]);
        d->failed = true;
    } else
        d->stats.written++;
    arena_pop(d->scratch, mark);
}

bool disk_get(Disk *d, const char *key, void *page) {
    const Head head = head_of(d, key);
    Entry *x = entry_of(d, key);
    Map m = {0};
    uint64_t sum;
    Err err = {0};
    if (!x) return false;
    const Mark mark = arena_mark(d->scratch);
    bool ok = os_map(&m, path_of(d, key), &err) && m.n == d->file_bytes;
    if (ok) memcpy(&sum, m.p + m.n - sizeof sum, sizeof sum);
    ok = ok && !memcmp(m.p, &head, sizeof head) && sum == sum_of(d, m.p);
    if (ok) memcpy(page, m.p + sizeof head, (size_t)d->page_bytes);
    if (m.n) os_unmap(&m);
    arena_pop(d->scratch, mark);
    if (!ok) {
        log_at(LOG_WARN, "a kept prompt is damaged or gone, and is computed anew: %.16s%s", key,
               ENDING);
        file_remove(d, x);
        return false;
    }
    x->used = ++d->clock;
    d->stats.read++;
    return true;
}
