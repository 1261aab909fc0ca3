/* base.h -- the public header of base/: what every module builds on.
 *
 * Promises: nothing here knows about models. Memory comes from arenas only; the operating system is
 * reached through os_* only; the threads of a program are those of one Team.
 * Ownership: a function that returns memory takes the Arena first, and the arena owns it. A
 * function without an Arena keeps nothing. x_open/x_close own a resource, x_new lives in its arena.
 * Threads: an Arena, a Buf, an Err belong to one thread at a time. Team and Thread: see below.
 * Everything else has no state, unless it says so. */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/sequence.h" /* Constraint, Drafter: interfaces only */

/* ---- macros ---------------------------------------------------------------------------------- */

#define COUNT(a)     ((int64_t)(sizeof(a) / sizeof((a)[0])))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))
#define CHECKED      __attribute__((warn_unused_result))
#define FORMAT(f, a) __attribute__((format(printf, f, a)))

/* A programmer's mistake: prints file:line and aborts, in release too. Never for outside input. */
#define CHECK(x) ((x) ? (void)0 : check_failed(__FILE__, __LINE__, #x))
_Noreturn void check_failed(const char *file, int line, const char *what);

static inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

/* ---- errors: what is wrong outside of the program -------------------------------------------- */

typedef enum ErrCode {
    ERR_NONE,
    ERR_USAGE,
    ERR_IO,
    ERR_FORMAT,
    ERR_LIMIT,
    ERR_UNSUPPORTED,
    ERR_INTERRUPTED
} ErrCode;
typedef struct Err {
    ErrCode code;
    char msg[1024];
} Err;

/* Sets code and message unless an earlier cause is there (the first cause wins); returns false.
 * The message says what was being done, to what, what was found, and what to do next. */
bool err_set(Err *err, ErrCode code, const char *fmt, ...) FORMAT(3, 4);
int err_exit_code(const Err *err); /* 0 none, 2 usage, 130 interrupted, else 1 */

/* ---- arenas: each piece of memory belongs to one --------------------------------------------- */

typedef struct Arena Arena;
typedef struct Mark {
    int64_t used;
} Mark;

/* Holds at most `limit` bytes and takes from the system what is pushed; `name` appears in messages.
 * A push is contiguous; of 64 bytes or more it is 64-byte aligned, smaller ones 16. Memory is
 * zeroed, and resident only as it is touched. Pushes have red zones under ASan. */
#define ARENA_NO_LIMIT ((int64_t)1 << 62)
Arena *arena_open(const char *name, int64_t limit);
void arena_close(Arena *a);
/* Never NULL: aborts with a message where the arena is full or the system gives no more. */
void *arena_push(Arena *a, int64_t bytes);
void *arena_try(Arena *a, int64_t bytes); /* NULL instead: for sizes from outside */
/* Takes now what pushes of `bytes` together will need; false where the system has not got it. */
bool arena_reserve(Arena *a, int64_t bytes) CHECKED;
Mark arena_mark(const Arena *a);
/* What was pushed since the mark will be written as a whole and read again and again: large pages
 * may hold it. They spare the table walks that reading through memory is bound by. */
void arena_large_pages(Arena *a, Mark from);
void arena_pop(Arena *a, Mark m); /* releases all that was pushed after the mark */
int64_t arena_used(const Arena *a);
int64_t arena_peak(const Arena *a); /* high-water mark; unchanged = nothing allocated */
#define PUSH(a, T, n) ((T *)arena_push((a), (int64_t)sizeof(T) * (n)))

/* ---- strings: pointer and length, not terminated --------------------------------------------- */

typedef struct Str {
    const char *p;
    int64_t n;
} Str;
#define STR(lit) ((Str){"" lit, (int64_t)sizeof(lit) - 1})
#define STRF(s)  (int)MIN((s).n, 1 << 30), (s).p /* for "%.*s", whose length is an int */
static inline Str str_of(const char *z) { return (Str){z, (int64_t)strlen(z)}; }
static inline bool str_eq(Str a, Str b) {
    return a.n == b.n && (a.n == 0 || !memcmp(a.p, b.p, (size_t)a.n));
}
bool str_starts(Str s, Str prefix);
bool str_ends(Str s, Str suffix);
/* Whether they differ in nothing but the case of ASCII's letters. */
bool str_eq_caseless(Str a, Str b);
/* Whether c is one of the characters of set; a byte 0 is in no set. */
static inline bool char_in(char c, const char *set) { return c && strchr(set, c); }
/* s without the characters of set at its ends. */
Str str_trim(Str s, const char *set);
/* Takes off what stands before the first c, and c; all of *s where there is none. */
Str str_cut(Str *s, char c);
Str str_copy(Arena *a, Str s); /* also NUL-terminated behind its end */
Str str_fmt(Arena *a, const char *fmt, ...) FORMAT(2, 3);
/* Strict numbers: the whole string, no white space, in range; false otherwise. */
bool str_i64(Str s, int64_t *out);
bool str_f64(Str s, double *out);
static inline const char *plural(int64_t n) { return n == 1 ? "" : "s"; } /* of "%lld file%s" */
/* The name nearest to s by edit distance, for "did you mean"; NULL when none is near. */
const char *str_nearest(Str s, const char *const *names, int64_t n);
/* Length 1..4 of the valid UTF-8 character at s.p; 0 if it is overlong, a surrogate or cut. */
int utf8_length(Str s);
bool utf8_valid(Str s); /* all of it */
/* Whether it is a control character, of which terminals take commands: below the blank, and U+007F
 * to U+009F. */
bool utf8_control(Str s);
int utf8_put(char *to, int32_t c); /* writes c's 1..4 bytes; returns how many */
/* The character of the JSON escape at s->p[0] (RFC 8259; a surrogate pair is one character); s
 * moves behind it. -1: it is no escape, and s does not move. */
int32_t json_escape(Str *s);

typedef struct Buf {
    Arena *a;
    char *p;
    int64_t n, cap;
} Buf; /* growing bytes in an arena */
void buf_add(Buf *b, Str s);
void buf_fmt(Buf *b, const char *fmt, ...) FORMAT(2, 3);
static inline Str buf_str(const Buf *b) { return (Str){b->p, b->n}; }

#include "base/table.h"    /* HashTable */
#include "base/terminal.h" /* standard input as it comes */

/* SHA-256 of bytes, incrementally (FIPS 180-4): identity of results, plans and downloads. */
typedef struct Sha256 {
    uint32_t h[8];
    uint64_t bytes;
    uint8_t block[64];
} Sha256;
void sha256_init(Sha256 *s);
void sha256_add(Sha256 *s, const void *p, int64_t n);
void sha256_hex(Sha256 *s, char hex[65]); /* ends the hash; lower case, terminated */

/* 64 bits of n bytes and a seed, as fast as memory is read: to notice that something changed by
 * accident. Whoever wants to deceive can: for that there is Sha256. */
uint64_t checksum(const void *p, int64_t n, uint64_t seed);

#include "base/dtype.h" /* DType, and rounding between number types */

/* ---- random numbers -------------------------------------------------------------------------- */

/* Philox4x32-10 (Salmon et al. 2011): four words for (key, counter); any draw is addressable. */
typedef struct Philox {
    uint32_t w[4];
} Philox;
Philox philox(uint64_t key, uint64_t position, uint32_t stream);
/* counter = (position lo, position hi, stream, 0), key = (key lo, key hi). */
static inline float philox_unit(uint32_t w) { return (float)(w >> 8) * 0x1p-24f; } /* [0, 1) */

/* ---- threads: one team, all of it running the same function ---------------------------------- */

/* Every thread runs the same function. thread_range splits *outputs* between threads, never a sum;
 * thread_sync is a barrier. The caller of team_run is thread 0. During a run each thread has
 * round-to-nearest, FTZ and DAZ, which is CHECKed; then the caller has its own float mode again. */
typedef struct Team Team;
typedef struct Thread {
    int64_t i, n;
    Team *team;
} Thread;
typedef struct Range {
    int64_t lo, hi;
} Range;

Team *team_open(int64_t threads); /* 1..64 */
void team_close(Team *t);
int64_t team_threads(const Team *t);
void team_run(Team *t, void (*fn)(Thread th, void *arg), void *arg); /* until all are through */
void thread_sync(Thread th); /* spins some microseconds, then sleeps on a futex */
/* Work on one thread only. */
static inline Thread thread_alone(Thread th) { return (Thread){0, 1, th.team}; }
/* The same share of the work without the barrier at its end: for a call that is followed by one
 * with a barrier and that reads nothing another thread has written since the last barrier. */
static inline Thread thread_nosync(Thread th) { return (Thread){th.i, th.n, NULL}; }
Range thread_range(Thread th, int64_t n); /* this thread's contiguous share of 0..n-1 */
Range thread_range_by(Thread th, int64_t n, int64_t step); /* with borders at multiples of step */
/* For arithmetic outside of a team: the calling thread has nearest, FTZ and DAZ until it leaves. */
uint32_t float_mode_enter(void);
void float_mode_leave(uint32_t before);

#include "base/thread.h" /* threads of their own, and a lock with a place to wait */

/* A bounded queue of items of one size, in order, between threads that have nothing else in common.
 * Any thread may push, and any may pop. */
typedef struct Queue Queue;
typedef enum QueueResult { QUEUE_ITEM, QUEUE_TIMEOUT, QUEUE_CLOSED } QueueResult;
Queue *queue_new(Arena *a, int64_t capacity, int64_t item_bytes);
bool queue_try_push(Queue *q, const void *item); /* never waits; false: it is full or closed */
/* Waits for an item, `timeout` seconds at most. Of a closed queue what is in it comes first. */
QueueResult queue_pop(Queue *q, void *item, double timeout);
void queue_close(Queue *q); /* nothing goes in any more, and who waits wakes up */

/* ---- the OS seam: only base/os.c calls the system -------------------------------------------- */

typedef struct Map {
    const uint8_t *p;
    int64_t n;
} Map; /* a file's bytes, read-only */
bool os_map(Map *m, const char *path, Err *err) CHECKED;
void os_unmap(Map *m);
/* Bytes at..at+n-1 leave memory, whole pages only; they are read again when they are used. */
void os_drop(const Map *m, int64_t at, int64_t n);
/* A whole file of at most `limit` bytes, NUL-terminated behind its end. */
bool os_read(Arena *a, Str *out, const char *path, int64_t limit, Err *err) CHECKED;
bool os_read_stdin(Arena *a, Str *out, int64_t limit, Err *err) CHECKED;
/* Writing is always: temporary name beside it, write, fsync, rename, fsync of the folder. */
typedef struct OutFile OutFile;
OutFile *os_create(Arena *a, const char *path, Err *err); /* NULL on error */
bool os_write(OutFile *o, const void *p, int64_t n, Err *err) CHECKED;
bool os_commit(OutFile *o, Err *err) CHECKED; /* gives the file its name, complete and durable */
void os_abandon(OutFile *o);                  /* discards it; also after a failed commit */
/* All of this in one: a file of these bytes. */
bool os_put(Arena *a, const char *path, Str bytes, Err *err) CHECKED;
/* The exception, for logs: appends to a file, which is created if missing. Not durable. */
bool os_append(const char *path, Str bytes, Err *err) CHECKED;
bool os_sync(const char *path, Err *err) CHECKED;  /* makes what was appended durable */
bool os_mkdir(const char *path, Err *err) CHECKED; /* with its parents; an existing one is fine */
bool os_rename(const char *from, const char *to, Err *err) CHECKED; /* atomic and durable */
bool os_remove(const char *path, Err *err) CHECKED;  /* a file, or a folder with its files */
bool os_private(const char *path, Err *err) CHECKED; /* no other user may open it any more */
void os_remove_empty(const char *folder); /* does nothing to a folder that is not empty */
/* Locks a folder against other callers of os_lock, until os_unlock or the end of the process; -1
 * with an Err when another holds it. Always succeeds on file systems without locks. */
int os_lock(const char *folder, Err *err);
/* The same, after the other's end; an interrupt ends the waiting. */
int os_lock_wait(const char *folder, Err *err);
void os_unlock(int lock);
/* What tells a file from what it was, unread. Times, of its bytes and of its attributes, are in ns
 * since 1970. settled: both lie two seconds back, so that a later change has another. */
typedef struct FileStamp {
    int64_t size, inode, modified, changed;
    bool settled;
} FileStamp;
bool os_stamp(FileStamp *s, const char *path, Err *err) CHECKED;
bool stamp_same(const FileStamp *a, const FileStamp *b);
/* Up to n bytes, from `at` on, of the file folder/path; no link is followed beneath the folder. */
bool os_read_beneath(const char *folder, const char *path, int64_t at, void *to, int64_t n,
                     int64_t *got, FileStamp *s, Err *err) CHECKED;
bool os_exists(const char *path), os_is_dir(const char *path);
/* The path from the root, without links in it; NULL with an Err where nothing is there. */
const char *os_real_path(Arena *a, const char *path, Err *err);
bool os_is_link(const char *path); /* a symbolic one, whatever it leads to */
/* Names in a folder, sorted bytewise, without . and .. */
bool os_list(Arena *a, Str **names, int64_t *n, const char *path, Err *err) CHECKED;
double os_now(void), os_cpu_time(void); /* monotonic seconds; of CPUs, used by all threads here */
void os_sleep(double seconds);          /* less where a signal comes */
int64_t os_cpus(void), os_time(void);   /* CPUs this process may use; seconds since 1970 */
bool os_allow_amx(void);                /* asks the kernel for AMX tiles, per process */
/* Bytes that this process may still take; has now, without mapped files; has had at most, with. */
int64_t os_memory_free(void), os_memory_now(void), os_memory_peak(void);
int64_t os_files_most(void); /* files that this process may have open at once */
/* Bytes that files in the folder may still take; -1 where it is not there. */
int64_t os_disk_free(const char *folder);
const char *os_env(const char *name); /* or NULL */
/* Where what comes with the program lies: PREFIX/share/lisao/KIND of PREFIX/bin/lisao, and KIND
 * beside the folder that it was built in. How many of the two are known. */
int64_t os_shipped(Arena *a, const char *folder[2], const char *kind);
const char *os_cache_folder(Arena *a, const char *kind); /* $XDG_CACHE_HOME/lisao/KIND */
bool os_is_tty(int fd);
int64_t os_columns(void);           /* terminal width, 80 when unknown */
void os_random(void *p, int64_t n); /* unpredictable bytes */
/* Call first: later files are not taken for stdin, stdout, stderr; no signal from ulimit -f. */
void os_claim_std(void);
bool os_interrupted(void);
void os_catch_interrupt(void), os_interrupt_clear(void); /* of SIGINT, SIGTERM the second kills */
/* Tests: the n-th read, write, fsync or rename from now fails with EIO (0: none). */
void os_fail_after(int64_t n);

/* ---- logging and progress (stderr) ----------------------------------------------------------- */

typedef enum LogLevel { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG } LogLevel;
void log_set(LogLevel level);
void log_at(LogLevel level, const char *fmt, ...) FORMAT(2, 3);

/* A bar with rate and time left on a terminal, else a line every 10 s; none in the first second. */
typedef struct Progress {
    const char *what, *unit; /* "train", "step"; bytes have the unit "B" */
    double start, shown;
    int64_t first, done, said, total; /* total 0: unknown; first: set it when resuming */
    bool tty, on;                     /* on: something is on the screen */
} Progress;
void progress_start(Progress *p, const char *what, const char *unit, int64_t total);
void progress_at(Progress *p, int64_t done, const char *extra); /* extra: "loss 3.21" or NULL */
void progress_end(Progress *p);

#include "base/child.h"   /* programs that answer lines */
#include "base/filter.h"  /* programs that read a file */
#include "base/helper.h"  /* processes that do what this one may not */
#include "base/net.h"     /* sockets of a server */
#include "base/service.h" /* signals, systemd, the clock of a program that runs for days */
#include "base/measure.h" /* times of repetitions, and how fast threads read memory */
#include "base/profile.h" /* where threads spend their time */
