/* os.c -- the OS seam: files, terminals, signals. os_pages.c has memory for arenas, os_machine.c
 * what the machine grants, team.c threads; nothing else asks the system.
 *
 * Invariants:
 * 1. A path that os_create wrote holds the old bytes or all of the new ones, also after SIGKILL or
 *    a power cut: the bytes go to a temporary name, are made durable, and only then take the name.
 * 2. Each failure becomes an Err that says what was being done to which path, and what helps.
 * 3. Every read, write, fsync and rename passes by faulty(), so that tests can make each of them
 *    fail. */
#define _GNU_SOURCE
#include "base/base.h"
#include "base/os_terminal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- faults and messages --------------------------------------------------------------------- */

static _Atomic int64_t faults_in; /* calls until the fault; 0: none */

void os_fail_after(int64_t n) { atomic_store(&faults_in, n); }

static bool faulty(void) {
    if (atomic_load(&faults_in) == 0 || atomic_fetch_sub(&faults_in, 1) != 1) return false;
    errno = EIO;
    return true;
}

/* "cannot read FILE: No such file or directory (look for a slip in the path)" from errno. */
static bool os_error(Err *err, const char *doing, const char *path) {
    int e = errno;
    const char *hint = e == ENOENT || e == ENOTDIR ? " (look for a slip in the path)"
                       : e == EACCES || e == EPERM ? " (see who may use it: ls -l)"
                       : e == EROFS                ? " (choose a place that can be written)"
                       : e == ENOSPC || e == EDQUOT
                           ? " (the disk is full: make room and start again)"
                       : e == EFBIG                 ? " (a limit on the size of files: ulimit -f)"
                       : e == EMFILE || e == ENFILE ? " (too many open files: ulimit -n)"
                       : e == EIO ? " (the disk or its connection reports an error)"
                                  : "";
    return err_set(err, ERR_IO, "cannot %s %s: %s%s", doing, path, strerror(e), hint);
}

/* ---- maps ------------------------------------------------------------------------------------ */

static bool not_a_file(Err *err, const char *doing, const char *path, const struct stat *st) {
    return err_set(err, ERR_IO, "cannot %s %s: it is a %s, a plain file is wanted", doing, path,
                   S_ISDIR(st->st_mode)    ? "folder"
                   : S_ISFIFO(st->st_mode) ? "pipe"
                                           : "device");
}

/* Opens a file for reading; a folder is refused here, where the message is a clear one. A pipe is
 * opened without waiting for somebody to write into it: one that nobody has opened is empty. */
static int open_file(const char *path, struct stat *st, Err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, st) < 0 || fcntl(fd, F_SETFL, 0) < 0) {
        os_error(err, "open", path);
    } else if (S_ISDIR(st->st_mode)) {
        not_a_file(err, "read", path, st);
    } else
        return fd;
    if (fd >= 0) close(fd);
    return -1;
}

/* What lies behind the end of a mapped file that became shorter cannot be read. Any other SIGBUS is
 * a defect and ends the program as ever. */
static void on_lost_bytes(int sig, siginfo_t *info, void *context) {
    static const char text[] =
        "lisao: a file that was being read is shorter than it was: it was cut or overwritten. The "
        "program ends here; start it again once the file is whole\n";
    (void)context;
    if (info->si_code == BUS_ADRERR) {
        terminal_restore();
        (void)!write(2, text, sizeof text - 1);
        _exit(1);
    }
    signal(sig, SIG_DFL);
    raise(sig);
}

static void lost_bytes_catch(void) {
    struct sigaction act = {.sa_sigaction = on_lost_bytes, .sa_flags = SA_SIGINFO};
    sigemptyset(&act.sa_mask);
    sigaction(SIGBUS, &act, NULL);
}

bool os_map(Map *m, const char *path, Err *err) {
    struct stat st;
    lost_bytes_catch(); /* the same once more does no harm */
    *m = (Map){(const uint8_t *)"", 0};
    int fd = open_file(path, &st, err);
    if (fd < 0) return false;
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return not_a_file(err, "map", path, &st);
    }
    void *p = st.st_size ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    bool fine = p != MAP_FAILED || os_error(err, "map", path);
    close(fd);
    if (fine && p) *m = (Map){p, st.st_size};
    return fine;
}

void os_unmap(Map *m) {
    if (m->n) CHECK(munmap((void *)(uintptr_t)m->p, (size_t)m->n) == 0);
    *m = (Map){(const uint8_t *)"", 0};
}

/* It takes the map and not a pointer: on memory of an arena the same advice would write zeros. */
void os_drop(const Map *m, int64_t at, int64_t n) {
    CHECK(at >= 0 && n >= 0 && at <= m->n - n);
    int64_t page = sysconf(_SC_PAGESIZE), lo = round_up(at, page), hi = (at + n) / page * page;
    if (lo < hi) madvise((void *)(uintptr_t)(m->p + lo), (size_t)(hi - lo), MADV_DONTNEED);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Bytes read, 0 at the end, -1 on error. Interrupted reads go on, unless the user wants to stop. */
static int64_t read_some(int fd, char *p, int64_t n) {
    for (;;) {
        ssize_t got = faulty() ? -1 : read(fd, p, (size_t)MIN(n, 1 << 30));
        if (got >= 0 || errno != EINTR || os_interrupted()) return got;
    }
}

/* Reads to the end, at most `limit` bytes. `hint`: the size, where it is known. */
static bool read_all(Arena *a, Str *out, int fd, const char *path, int64_t hint, int64_t limit,
                     Err *err) {
    int64_t cap = MIN(MAX(hint, 4095), limit) + 1, n = 0;
    char *p = arena_try(a, cap);
    while (p) {
        if (n == cap) { /* it is longer than it said: a pipe, or it grows */
            cap = MIN(2 * cap, limit + 1);
            char *more = n > limit ? NULL : arena_try(a, cap);
            if (more) memcpy(more, p, (size_t)n);
            p = more;
            continue;
        }
        int64_t got = read_some(fd, p + n, cap - n);
        if (got < 0 && errno == EINTR)
            return err_set(err, ERR_INTERRUPTED, "interrupted reading %s", path);
        if (got < 0) return os_error(err, "read", path);
        n += got;
        if (got > 0) continue;
        p[n] = 0; /* n < cap: there was room for one more byte */
        *out = (Str){p, n};
        return true;
    }
    return err_set(err, ERR_LIMIT, "%s is too long: at most %lld bytes are read", path,
                   (long long)limit);
}

bool os_read(Arena *a, Str *out, const char *path, int64_t limit, Err *err) {
    struct stat st;
    int fd = open_file(path, &st, err);
    if (fd < 0) return false;
    bool fine = st.st_size <= limit
                    ? read_all(a, out, fd, path, st.st_size, limit, err)
                    : err_set(err, ERR_LIMIT, "%s has %lld bytes: at most %lld are read", path,
                              (long long)st.st_size, (long long)limit);
    close(fd);
    return fine;
}

bool os_read_stdin(Arena *a, Str *out, int64_t limit, Err *err) {
    return read_all(a, out, 0, "standard input", 0, limit, err);
}

/* ---- writing --------------------------------------------------------------------------------- */

struct OutFile {
    int fd; /* -1 once committed or abandoned */
    const char *path, *temp;
};

/* The folder that holds `path`. */
static Str folder_of(Str path) {
    int64_t n = path.n;
    while (n > 0 && path.p[n - 1] != '/') n--;
    while (n > 1 && path.p[n - 1] == '/') n--;
    return n ? (Str){path.p, n} : STR(".");
}

static int fsync_or_fault(int fd) { return faulty() ? -1 : fsync(fd); }
static int rename_or_fault(const char *from, const char *to) {
    return faulty() ? -1 : rename(from, to);
}

/* A name is durable when its folder is. */
static bool sync_folder(const char *path, Err *err) {
    char folder[4096];
    Str f = folder_of(str_of(path));
    if (snprintf(folder, sizeof folder, "%.*s", STRF(f)) >= (int)sizeof folder)
        return err_set(err, ERR_IO, "cannot sync the folder of %s: the path is too long", path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool fine = fd >= 0 && fsync_or_fault(fd) == 0;
    if (!fine) os_error(err, "sync folder", folder);
    if (fd >= 0) close(fd);
    return fine;
}

/* By the name that the caller knows. */
static void create_failed(Err *err, const char *path) {
    int e = errno;
    char folder[4096];
    snprintf(folder, sizeof folder, "%.*s", STRF(folder_of(str_of(path))));
    if (e == ENOENT && !os_exists(folder)) {
        err_set(err, ERR_IO, "cannot create %s: the folder %s does not exist", path, folder);
        return;
    }
    errno = e;
    os_error(err, "create", path);
}

OutFile *os_create(Arena *a, const char *path, Err *err) {
    static _Atomic uint32_t counter;
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) { /* the rename would put it out of the way */
        not_a_file(err, "write", path, &st);
        return NULL;
    }
    OutFile *o = PUSH(a, OutFile, 1);
    o->path = str_copy(a, str_of(path)).p;
    /* Process and counter make the name our own; O_EXCL and another try take care of what a
     * killed process of the same number left there, and of equal numbers in two containers. */
    for (int tries = 0; tries < 1000; tries++) {
        uint32_t i = atomic_fetch_add(&counter, 1);
        o->temp = str_fmt(a, "%s.tmp-%d-%u", path, (int)getpid(), i).p;
        o->fd = open(o->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (o->fd >= 0) return o;
        if (errno != EEXIST) break;
    }
    return create_failed(err, path), NULL;
}

static bool write_all(int fd, const char *p, int64_t n, const char *path, Err *err) {
    while (n > 0) {
        ssize_t put = faulty() ? -1 : write(fd, p, (size_t)MIN(n, 1 << 30));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return os_error(err, "write", path);
        p += put;
        n -= put;
    }
    return true;
}

bool os_write(OutFile *o, const void *data, int64_t n, Err *err) {
    CHECK(o->fd >= 0);
    return write_all(o->fd, data, n, o->path, err);
}

bool os_append(const char *path, Str bytes, Err *err) {
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return os_error(err, "open", path);
    bool fine = write_all(fd, bytes.p, bytes.n, path, err);
    if (close(fd) < 0 && fine) fine = os_error(err, "close", path);
    return fine;
}

bool os_sync(const char *path, Err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return os_error(err, "open", path);
    bool fine = fsync_or_fault(fd) == 0 || os_error(err, "sync", path);
    close(fd);
    return fine && sync_folder(path, err);
}

bool os_commit(OutFile *o, Err *err) {
    CHECK(o->fd >= 0);
    bool fine = fsync_or_fault(o->fd) == 0 || os_error(err, "sync", o->path);
    if (close(o->fd) < 0 && fine) fine = os_error(err, "close", o->path);
    o->fd = -1;
    if (fine && rename_or_fault(o->temp, o->path) < 0)
        fine = os_error(err, "rename into place", o->path);
    if (!fine) {
        unlink(o->temp);
        return false;
    }
    return sync_folder(o->path, err);
}

void os_abandon(OutFile *o) {
    if (!o || o->fd < 0) return;
    close(o->fd);
    unlink(o->temp);
    o->fd = -1;
}

bool os_put(Arena *a, const char *path, Str bytes, Err *err) {
    OutFile *o = os_create(a, path, err);
    const bool fine = o && os_write(o, bytes.p, bytes.n, err) && os_commit(o, err);
    if (!fine) os_abandon(o);
    return fine;
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool make_one(const char *path, Err *err) {
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && os_is_dir(path))) return true;
    return os_error(err, "make folder", path);
}

bool os_mkdir(const char *path, Err *err) {
    char part[4096];
    int64_t n = (int64_t)strlen(path);
    if (n == 0 || n >= COUNT(part))
        return err_set(err, ERR_IO, "cannot make a folder: its path has %lld bytes", (long long)n);
    for (int64_t i = 1; i <= n; i++) { /* a/b/c: a, a/b, a/b/c */
        if (i < n && path[i] != '/') continue;
        memcpy(part, path, (size_t)i);
        part[i] = 0;
        if (!make_one(part, err)) return false;
    }
    return true;
}

bool os_rename(const char *from, const char *to, Err *err) {
    if (rename_or_fault(from, to) < 0) return os_error(err, "rename to", to);
    return sync_folder(to, err);
}

/* Removes the entries of an open folder; folders in it make rmdir fail later, with a clear
 * message. */
static void remove_files(DIR *dir) {
    for (struct dirent *e; (e = readdir(dir));) unlinkat(dirfd(dir), e->d_name, 0);
}

bool os_remove(const char *path, Err *err) {
    if (unlink(path) == 0) return true;
    if (errno != EISDIR && errno != EPERM) return os_error(err, "remove", path);
    DIR *dir = opendir(path);
    if (!dir) return os_error(err, "remove", path);
    remove_files(dir);
    closedir(dir);
    return rmdir(path) == 0 || os_error(err, "remove", path);
}

void os_remove_empty(const char *folder) { (void)!rmdir(folder); }

static bool is_named(int fd, const char *path) {
    struct stat held, named;
    return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_dev == named.st_dev
           && held.st_ino == named.st_ino;
}

/* The locked folder's number; -1 with an Err where there is no folder, without one where another
 * holds the lock. A folder that another process removed between our open and our lock is looked for
 * again. */
static int lock_take(const char *folder, int how, Err *err) {
    for (;;) {
        int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) return os_error(err, "open", folder), -1;
        bool locked = flock(fd, how) == 0 || (errno != EWOULDBLOCK && errno != EINTR);
        if (locked && is_named(fd, folder)) return fd;
        close(fd);
        if (!locked) return -1;
    }
}

int os_lock(const char *folder, Err *err) {
    Err why = {0};
    int fd = lock_take(folder, LOCK_EX | LOCK_NB, &why);
    if (fd >= 0) return fd;
    if (why.code != ERR_NONE) return err_set(err, why.code, "%s", why.msg), -1;
    err_set(err, ERR_IO,
            "%s: another process is writing into this folder: wait for its end, or "
            "choose another folder",
            folder);
    return -1;
}

int os_lock_wait(const char *folder, Err *err) {
    while (!os_interrupted()) {
        Err why = {0};
        int fd = lock_take(folder, LOCK_EX, &why);
        if (fd >= 0) return fd;
        if (why.code != ERR_NONE) return err_set(err, why.code, "%s", why.msg), -1;
    }
    err_set(err, ERR_INTERRUPTED, "interrupted waiting for another process to leave %s", folder);
    return -1;
}

void os_unlock(int lock) { close(lock); }

static int64_t nanoseconds(const struct timespec *t) {
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static FileStamp stamp_of(const struct stat *st) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    FileStamp s = {.size = st->st_size,
                   .inode = (int64_t)st->st_ino,
                   .modified = nanoseconds(&st->st_mtim),
                   .changed = nanoseconds(&st->st_ctim)};
    s.settled = nanoseconds(&now) - MAX(s.modified, s.changed) >= 2000000000;
    return s;
}

bool os_stamp(FileStamp *s, const char *path, Err *err) {
    struct stat st;
    if (stat(path, &st) < 0) return os_error(err, "open", path);
    *s = stamp_of(&st);
    return true;
}

bool stamp_same(const FileStamp *a, const FileStamp *b) {
    return a->size == b->size && a->inode == b->inode && a->modified == b->modified
           && a->changed == b->changed;
}

bool os_private(const char *path, Err *err) {
    return chmod(path, os_is_dir(path) ? 0700 : 0600) == 0 || os_error(err, "protect", path);
}

bool os_exists(const char *path) { return access(path, F_OK) == 0; }

const char *os_real_path(Arena *a, const char *path, Err *err) {
    char *real = realpath(path, NULL);
    if (!real) return os_error(err, "find", path), NULL;
    const char *copy = str_copy(a, str_of(real)).p;
    free(real);
    return copy;
}

bool os_is_link(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

bool os_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(((const Str *)a)->p, ((const Str *)b)->p);
}

bool os_list(Arena *a, Str **names, int64_t *n, const char *path, Err *err) {
    DIR *dir = opendir(path);
    if (!dir) return os_error(err, "list", path);
    int64_t cap = 16, count = 0;
    Str *list = PUSH(a, Str, cap);
    errno = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (count == cap) {
            Str *more = PUSH(a, Str, 2 * cap);
            memcpy(more, list, (size_t)cap * sizeof *list);
            list = more;
            cap *= 2;
        }
        list[count++] = str_copy(a, str_of(e->d_name));
    }
    bool fine = errno == 0 || os_error(err, "list", path);
    closedir(dir);
    qsort(list, (size_t)count, sizeof *list, by_bytes);
    *names = list;
    *n = count;
    return fine;
}

/* ---- beneath a folder ------------------------------------------------------------------------ */

/* The last part of a path, each of its folders opened without following a link. Takes `dir` over;
 * -1 with errno set. */
static int open_beneath(int dir, Str path) {
    enum { WAY = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK };
    while (dir >= 0) {
        char name[256];
        const Str part = str_cut(&path, '/');
        const bool odd = part.n == 0 || part.n >= COUNT(name) || str_eq(part, STR("."))
                         || str_eq(part, STR(".."));
        snprintf(name, sizeof name, "%.*s", STRF(part));
        const int next = odd ? -1 : openat(dir, name, path.p ? WAY | O_DIRECTORY : WAY);
        const int why = odd ? ENOENT : errno;
        close(dir);
        if (next < 0) errno = why;
        if (!path.p) return next;
        dir = next;
    }
    return -1;
}

bool os_read_beneath(const char *folder, const char *path, int64_t at, void *to, int64_t n,
                     int64_t *got, FileStamp *s, Err *err) {
    struct stat st;
    const int fd = open_beneath(open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), str_of(path));
    bool fine = fd >= 0 && fstat(fd, &st) == 0;
    if (!fine) {
        os_error(err, "open", path);
    } else if (!S_ISREG(st.st_mode)) {
        fine = not_a_file(err, "read", path, &st);
    } else {
        *s = stamp_of(&st);
        *got = lseek(fd, at, SEEK_SET) < 0 ? -1 : read_some(fd, to, n);
        fine = *got >= 0 || os_error(err, "read", path);
    }
    if (fd >= 0) close(fd);
    return fine;
}

/* ---- the process ----------------------------------------------------------------------------- */

const char *os_env(const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

const char *os_cache_folder(Arena *a, const char *kind) {
    const char *cache = os_env("XDG_CACHE_HOME"), *home = os_env("HOME");
    if (cache) return str_fmt(a, "%s/lisao/%s", cache, kind).p;
    return str_fmt(a, "%s/.cache/lisao/%s", home ? home : ".", kind).p;
}

int64_t os_shipped(Arena *a, const char *folder[2], const char *kind) {
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    if (n <= 0 || n == (ssize_t)sizeof path) return 0;
    for (int slashes = 0; n > 0; n--) /* up to the last slash but one */
        if (path[n - 1] == '/' && ++slashes == 2) break;
    folder[0] = str_fmt(a, "%.*sshare/lisao/%s", (int)n, path, kind).p;
    folder[1] = str_fmt(a, "%.*s%s", (int)n, path, kind).p;
    return n > 0 ? 2 : 0;
}

bool os_is_tty(int fd) { return isatty(fd); }

void os_random(void *p, int64_t n) {
    for (int64_t done = 0; done < n;) {
        ssize_t got = getrandom((char *)p + done, (size_t)(n - done), 0);
        CHECK(got > 0 || errno == EINTR);
        done += MAX(got, 0);
    }
}

/* Numbers that the caller left closed are given away: reading is at its end, writing fails. */
void os_claim_std(void) {
    signal(SIGXFSZ, SIG_IGN); /* a write beyond ulimit -f fails and is reported, and cleaned up */
    int fd;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0 && fd <= 2) continue;
    if (fd > 2) close(fd);
}

int64_t os_columns(void) {
    struct winsize w;
    for (int fd = 2; fd >= 1; fd--)
        if (ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20) return w.ws_col;
    return 80;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static atomic_bool interrupted;

static void on_signal(int sig) {
    if (!atomic_exchange(&interrupted, true)) return;
    terminal_restore();
    signal(sig, SIG_DFL); /* the second time: as if we had caught nothing */
    raise(sig);
}

void os_catch_interrupt(void) {
    struct sigaction act = {.sa_handler = on_signal}; /* no SA_RESTART: a waiting read returns */
    sigemptyset(&act.sa_mask);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    struct sigaction hangup; /* under nohup it stays ignored */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler == SIG_DFL)
        sigaction(SIGHUP, &act, NULL);
}

bool os_interrupted(void) { return atomic_load(&interrupted); }
void os_interrupt_clear(void) { atomic_store(&interrupted, false); }
