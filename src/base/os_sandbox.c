/* os_sandbox.c -- what is left to a process that serves, and to a program that reads a foreign
 * file: Landlock for files, seccomp for system calls (decisions 017, 026). */
#define _GNU_SOURCE
#include "base/base.h"
#include "base/sanitizer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool privileges_drop(Err *err) {
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none); /* a core would hold keys and prompts */
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
           || err_set(err, ERR_UNSUPPORTED, "no-new-privileges: %s", strerror(errno));
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Rights by the version that has them; headers may be older than the kernel. */
static const uint64_t ABI1 = 0x1ff3; /* execute, write, remove, make; not read_file and read_dir */
static const uint64_t REFER = 1 << 13, TRUNCATE = 1 << 14;
static const uint64_t EXECUTE = 1 << 0, DEVICES = 1 << 6 | 1 << 11; /* make_char, make_block */
static const uint64_t SOCKETS = 1 << 5 | 1 << 9;                    /* remove_file, make_sock */
static const uint64_t READS = 1 << 2 | 1 << 3;                      /* read_file, read_dir */

static bool folder_allow(int rules, const char *folder, uint64_t rights, Err *err) {
    if (!folder) return true;
    struct landlock_path_beneath_attr at = {.allowed_access = rights,
                                            .parent_fd = open(folder, O_PATH | O_CLOEXEC)};
    const bool fine =
        at.parent_fd >= 0
        && syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &at, 0) == 0;
    const int why = errno;
    if (at.parent_fd >= 0) close(at.parent_fd);
    return fine
           || err_set(err, ERR_UNSUPPORTED, "Landlock: allowing %s: %s", folder, strerror(why));
}

/* Rules for these rights; -1: there is no Landlock. */
static int rules_open(uint64_t rights, struct landlock_ruleset_attr *all, Err *err) {
    const long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    *all = (struct landlock_ruleset_attr){.handled_access_fs = rights | (abi >= 2 ? REFER : 0)
                                                               | (abi >= 3 ? TRUNCATE : 0)};
    const int rules = abi < 1 ? -1 : (int)syscall(SYS_landlock_create_ruleset, all, sizeof *all, 0);
    if (rules < 0) (void)err_set(err, ERR_UNSUPPORTED, "Landlock: %s", strerror(errno));
    return rules;
}

/* They hold from now on, where `fine`, and are closed. */
static bool rules_hold(int rules, bool fine, Err *err) {
    if (fine && syscall(SYS_landlock_restrict_self, rules, 0))
        fine = err_set(err, ERR_UNSUPPORTED, "Landlock: %s", strerror(errno));
    close(rules);
    return fine;
}

bool sandbox_files(const char *folder, const char *sockets, Err *err) {
    struct landlock_ruleset_attr all;
    if (UNDER_SANITIZER) return err_set(err, ERR_UNSUPPORTED, "none under a sanitizer");
    if (!privileges_drop(err)) return false;
    const int rules = rules_open(ABI1, &all, err);
    return rules >= 0
           && rules_hold(
               rules,
               folder_allow(rules, folder, all.handled_access_fs & ~(EXECUTE | DEVICES), err)
                   && folder_allow(rules, sockets, SOCKETS, err),
               err);
}

/* ---- system calls ---------------------------------------------------------------------------- */

/* By name: not every architecture has all. What a call may reach was settled by what is open, and
 * for paths by sandbox_files. */
static const char *const allowed[] = {
    /* files */
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "close",
    "lseek", "open", "openat", "stat", "lstat", "fstat", "newfstatat", "statx", "statfs", "fstatfs",
    "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64", "getcwd",
    "ftruncate", "fallocate", "fadvise64", "fsync", "fdatasync", "flock", "fcntl", "fchmod",
    "chmod", "fchmodat", "fchown", "umask", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat",
    "rename", "renameat", "renameat2", "dup",
    /* memory */
    "munmap", "mremap", "madvise", "brk", "mlock", "mlock2", "munlock", "msync", "mincore",
    /* threads that there are, signals, time */
    "futex", "futex_waitv", "sched_yield", "sched_getaffinity", "set_robust_list",
    "get_robust_list", "rseq", "membarrier", "gettid", "getpid", "getppid", "getuid", "geteuid",
    "getgid", "getegid", "tgkill", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
    "rt_sigtimedwait", "sigaltstack", "restart_syscall", "nanosleep", "clock_nanosleep",
    "clock_gettime", "clock_getres", "gettimeofday", "time", "exit", "exit_group", "getrandom",
    "sysinfo", "uname", "getrlimit", "getrusage",
    /* connections that come in */
    "accept", "accept4", "recvfrom", "recvmsg", "sendto", "sendmsg", "sendfile", "shutdown",
    "getsockname", "getpeername", "getsockopt", "setsockopt", "epoll_create1", "epoll_ctl",
    "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6", "eventfd2"};

/* Whoever asks for one of these is no part of this program. */
static const char *const deadly[] = {
    "execve",          "execveat",          "fork",   "vfork",
    "ptrace",          "process_vm_readv",  "bpf",    "init_module",
    "finit_module",    "process_vm_writev", "mount",  "setns",
    "perf_event_open", "kexec_load",        "unshare"};

/* A name that this architecture has not got is passed over. */
static bool call_rules(scmp_filter_ctx f, uint32_t action, const char *const *name, int64_t n) {
    bool fine = true;
    for (int64_t i = 0; fine && i < n; i++) {
        const int number = seccomp_syscall_resolve_name(name[i]);
        fine =
            number == __NR_SCMP_ERROR || number < 0 || seccomp_rule_add(f, action, number, 0) == 0;
    }
    return fine;
}

/* It holds from now on, where `fine`, and is freed. */
static bool filter_hold(scmp_filter_ctx f, bool fine, Err *err) {
    const int why = fine ? seccomp_load(f) : -EINVAL;
    seccomp_release(f);
    return why == 0 || err_set(err, ERR_UNSUPPORTED, "seccomp: %s", strerror(-why));
}

/* Calls of which some are fine: memory that is not executed; questions to a terminal or socket, and
 * about this process's limits. */
static bool some_rules(scmp_filter_ctx f) {
    static const unsigned long question[] = {TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO};
    const struct scmp_arg_cmp not_code = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    bool fine =
        seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, not_code) == 0
        && seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, not_code) == 0
        && seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0, 0))
               == 0;
    for (int64_t i = 0; fine && i < COUNT(question); i++)
        fine = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                                SCMP_A1(SCMP_CMP_EQ, question[i], 0))
               == 0;
    return fine;
}

bool sandbox_calls(Err *err) {
    if (UNDER_SANITIZER) return err_set(err, ERR_UNSUPPORTED, "none under a sanitizer");
    if (!privileges_drop(err)) return false;
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!f) return err_set(err, ERR_UNSUPPORTED, "seccomp: libseccomp does not start");
    const bool fine = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1) == 0 && some_rules(f)
                      && call_rules(f, SCMP_ACT_ALLOW, allowed, COUNT(allowed))
                      && call_rules(f, SCMP_ACT_KILL_PROCESS, deadly, COUNT(deadly));
    return filter_hold(f, fine, err);
}

/* ---- another program, and a process that connects -------------------------------------------- */

static bool folders_of_programs(int rules, uint64_t rights, Err *err) {
    static const char *const folder[] = {"/usr", "/lib", "/lib64", "/etc"};
    bool fine = true;
    for (int64_t i = 0; fine && i < COUNT(folder); i++)
        if (access(folder[i], F_OK) == 0) fine = folder_allow(rules, folder[i], rights, err);
    return fine;
}

/* Where the system is told which servers know the addresses of names: a link out of /etc often. */
static bool folder_of_names(int rules, Err *err) {
    char path[PATH_MAX];
    if (!realpath("/etc/resolv.conf", path)) return true;
    *strrchr(path, '/') = 0;
    return !*path || folder_allow(rules, path, READS, err);
}

/* What no program needs that reads a file or asks a server. */
static const char *const needless[] = {"bind",
                                       "listen",
                                       "accept",
                                       "accept4",
                                       "ptrace",
                                       "process_vm_readv",
                                       "process_vm_writev",
                                       "bpf",
                                       "mount",
                                       "setns",
                                       "unshare",
                                       "perf_event_open",
                                       "keyctl",
                                       "add_key",
                                       "request_key",
                                       "io_uring_setup",
                                       "pidfd_getfd",
                                       "userfaultfd"};
/* What some of them need. */
enum { NO_SOCKETS = 1 << 0, NO_PROGRAMS = 1 << 1, NO_SIGNALS = 1 << 2 };
static const char *const sockets[] = {"socket", "socketpair", "connect"},
                         *const programs[] = {"execve", "execveat", "fork", "vfork"},
                         *const signals[] = {"kill",
                                             "tgkill",
                                             "tkill",
                                             "rt_sigqueueinfo",
                                             "rt_tgsigqueueinfo",
                                             "pidfd_send_signal"};

/* Those are refused, and the kinds that are named. */
static bool calls_refuse(int kinds, Err *err) {
    const uint32_t no = SCMP_ACT_ERRNO(EPERM);
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    if (!f) return err_set(err, ERR_UNSUPPORTED, "seccomp: libseccomp does not start");
    return filter_hold(
        f,
        call_rules(f, no, needless, COUNT(needless))
            && (!(kinds & NO_SOCKETS) || call_rules(f, no, sockets, COUNT(sockets)))
            && (!(kinds & NO_PROGRAMS) || call_rules(f, no, programs, COUNT(programs)))
            && (!(kinds & NO_SIGNALS) || call_rules(f, no, signals, COUNT(signals))),
        err);
}

static bool folders_only(uint64_t rights, bool names, Err *err) {
    struct landlock_ruleset_attr all;
    const int rules = rules_open(ABI1 | READS, &all, err);
    return rules >= 0
           && rules_hold(rules,
                         folders_of_programs(rules, rights, err)
                             && (!names || folder_of_names(rules, err)),
                         err);
}

bool sandbox_program(Err *err) {
    if (UNDER_SANITIZER) return err_set(err, ERR_UNSUPPORTED, "none under a sanitizer");
    return privileges_drop(err) && folders_only(READS | EXECUTE, false, err)
           && calls_refuse(NO_SOCKETS | NO_SIGNALS, err);
}

bool sandbox_starter(Err *err) {
    if (UNDER_SANITIZER) return err_set(err, ERR_UNSUPPORTED, "none under a sanitizer");
    return privileges_drop(err) && folders_only(READS | EXECUTE, false, err)
           && calls_refuse(NO_SOCKETS, err);
}

bool sandbox_client(Err *err) {
    if (UNDER_SANITIZER) return err_set(err, ERR_UNSUPPORTED, "none under a sanitizer");
    return privileges_drop(err) && folders_only(READS, true, err)
           && calls_refuse(NO_PROGRAMS | NO_SIGNALS, err);
}
