/* os_machine.c -- what this process may use of the machine: CPUs, memory, time.
 *
 * A container is one or more control groups (cgroups) around the process, each with limits of its
 * own; of all groups from the innermost to the root the one that leaves least decides. Version 2
 * has one tree, version 1 a tree for each controller; both are looked at. */
#define _GNU_SOURCE
#include "base/os_machine.h"
#include "base/base.h"
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_BYTES = 8192, PATH_BYTES = 4096 };

static double clock_read(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double os_now(void) { return clock_read(CLOCK_MONOTONIC); }
double os_cpu_time(void) { return clock_read(CLOCK_PROCESS_CPUTIME_ID); }

void os_sleep(double seconds) {
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)(1e9 * (seconds - (double)t.tv_sec));
    nanosleep(&t, NULL);
}

int64_t os_time(void) { return (int64_t)time(NULL); }

void process_limit(int what, uint64_t most) {
    const struct rlimit r = {most, most};
    setrlimit(what, &r);
}

/* ---- the kernel's files ---------------------------------------------------------------------- */

/* The start of a small system file, as a string; empty where there is none. */
static void file_text(const char *folder, const char *name, char text[TEXT_BYTES]) {
    char path[2 * PATH_BYTES];
    int cut = snprintf(path, sizeof path, "%s%s", folder, name) >= (int)sizeof path;
    int fd = cut ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, TEXT_BYTES - 1);
    text[MAX(n, 0)] = 0;
    if (fd >= 0) close(fd);
}

/* The number behind `key` at the start of a line ("" for the first line); -1 if there is none, also
 * where the text says "max". */
static int64_t number_in(const char *text, const char *key) {
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        long long v;
        if (!strncmp(line, key, strlen(key)) && sscanf(line + strlen(key), "%lld", &v) == 1)
            return v;
        if (!*key) break;
    }
    return -1;
}

static int64_t file_number(const char *folder, const char *name, const char *key) {
    char text[TEXT_BYTES];
    file_text(folder, name, text);
    return number_in(text, key);
}

/* ---- control groups -------------------------------------------------------------------------- */

/* Looks at one group; lowers *least to what it leaves. */
typedef void GroupFn(const char *group, bool v2, int64_t *least);

/* From the group `path` of the tree at `mount` up to the root. In a container the tree's root may
 * be the group itself, which the path still names as the host sees it: what is not there has no
 * files and limits nothing. */
static void groups_walk(const char *mount, char *path, bool v2, GroupFn *look, int64_t *least) {
    char group[PATH_BYTES];
    for (;;) {
        if (snprintf(group, sizeof group, "%s%s", mount, path) < (int)sizeof group)
            look(group, v2, least);
        char *slash = strrchr(path, '/');
        if (!slash) return;
        *slash = 0;
    }
}

/* True if the list "cpu,cpuacct" has the word. */
static bool list_has(const char *list, const char *end, const char *word) {
    size_t n = strlen(word);
    for (const char *p = list; p < end; p++) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        if ((size_t)((comma ? comma : end) - p) == n && !memcmp(p, word, n)) return true;
        if (!comma) break;
        p = comma;
    }
    return false;
}

/* /proc/self/cgroup has lines "number:controllers:/path"; version 2 is "0::/path". */
static void groups_look(const char *root, const char *controller, GroupFn *look, int64_t *least) {
    char text[TEXT_BYTES], mount[PATH_BYTES];
    file_text(root, "/proc/self/cgroup", text);
    for (char *line = text, *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next) *next++ = 0;
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) continue;
        bool v2 = path == list + 1;
        if (!v2 && !list_has(list + 1, path, controller)) continue;
        snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s%s", root, v2 ? "" : "/",
                 v2 ? "" : controller);
        char *tail = path + 1 + strlen(path + 1);
        while (tail > path + 1 && tail[-1] == '/') *--tail = 0;
        groups_walk(mount, path + 1, v2, look, least);
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Of what a group uses the cache of files can be had back: the kernel drops it before it lets a
 * process of the group die. */
static int64_t group_cache(const char *group, bool v2) {
    static const char *const key[2][3] = {
        {"total_inactive_file ", "total_active_file ", NULL},
        {"inactive_file ", "active_file ", "slab_reclaimable "},
    };
    char text[TEXT_BYTES];
    int64_t bytes = 0;
    file_text(group, "/memory.stat", text);
    for (int i = 0; i < 3 && key[v2][i]; i++) bytes += MAX(number_in(text, key[v2][i]), 0);
    return bytes;
}

static void group_memory(const char *group, bool v2, int64_t *least) {
    int64_t limit = file_number(group, v2 ? "/memory.max" : "/memory.limit_in_bytes", "");
    int64_t high = v2 ? file_number(group, "/memory.high", "") : -1; /* throttled above it */
    int64_t used = file_number(group, v2 ? "/memory.current" : "/memory.usage_in_bytes", "");
    if (high >= 0 && (limit < 0 || high < limit)) limit = high;
    if (limit < 0 || used < 0) return;
    int64_t not_free = MAX(used - group_cache(group, v2), 0);
    *least = MIN(*least, MAX(limit - not_free, 0));
}

/* What is left of a limit of this process ("ulimit -v", "ulimit -d"), by its status. */
static int64_t limit_left(const char *status, int what, const char *key) {
    struct rlimit l;
    int64_t used = number_in(status, key);
    if (getrlimit((__rlimit_resource_t)what, &l) < 0 || l.rlim_cur >= INT64_MAX || used < 0)
        return INT64_MAX;
    return MAX((int64_t)l.rlim_cur - used * 1024, 0);
}

int64_t machine_memory_free(const char *root) {
    char text[TEXT_BYTES];
    file_text(root, "/proc/meminfo", text);
    int64_t bytes = number_in(text, "MemAvailable:") * 1024;
    int64_t limit = number_in(text, "CommitLimit:"), promised = number_in(text, "Committed_AS:");
    /* Strict overcommit: memory is refused when it is asked for, not when it is touched. */
    if (file_number(root, "/proc/sys/vm/overcommit_memory", "") == 2 && limit >= 0)
        bytes = MIN(bytes, MAX(limit - promised, 0) * 1024);
    groups_look(root, "memory", group_memory, &bytes);
    return bytes;
}

int64_t os_memory_free(void) {
    char status[TEXT_BYTES];
    file_text("", "/proc/self/status", status);
    int64_t bytes =
        MIN(limit_left(status, RLIMIT_AS, "VmSize:"), limit_left(status, RLIMIT_DATA, "VmData:"));
    return MIN(bytes, machine_memory_free(""));
}

int64_t os_memory_now(void) { return file_number("", "/proc/self/status", "RssAnon:") * 1024; }
int64_t os_memory_peak(void) { return file_number("", "/proc/self/status", "VmHWM:") * 1024; }

/* ---- files ----------------------------------------------------------------------------------- */

int64_t os_files_most(void) {
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur >= INT64_MAX) return INT64_MAX;
    return (int64_t)l.rlim_cur;
}

int64_t os_disk_free(const char *folder) {
    struct statvfs v;
    return statvfs(folder, &v) < 0 ? -1 : (int64_t)v.f_bavail * (int64_t)v.f_frsize;
}

/* ---- CPUs ------------------------------------------------------------------------------------ */

/* A share of time, as so many CPUs' whole time: "quota period" in microseconds. */
static void group_cpus(const char *group, bool v2, int64_t *least) {
    char text[TEXT_BYTES];
    long long quota = -1, period = -1;
    file_text(group, v2 ? "/cpu.max" : "/cpu.cfs_quota_us", text);
    sscanf(text, "%lld %lld", &quota, &period);
    if (!v2) period = file_number(group, "/cpu.cfs_period_us", "");
    if (quota > 0 && period > 0) *least = MIN(*least, (quota - 1) / period + 1);
}

int64_t machine_cpus(const char *root, int64_t most) {
    groups_look(root, "cpu", group_cpus, &most);
    return MAX(most, 1);
}

int64_t os_cpus(void) {
    cpu_set_t set;
    bool known = sched_getaffinity(getpid(), sizeof set, &set) == 0; /* of the first thread */
    return machine_cpus("", known ? CPU_COUNT(&set) : 1);
}

/* arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA): without it the first tile instruction
 * dies. */
bool os_allow_amx(void) {
#if defined(__x86_64__)
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
    return false;
#endif
}
