/* os_service.c -- what a program that runs for days shares with its system: SIGHUP, and the two
 * protocols of systemd, which are a few lines each and need no library. */
#define _GNU_SOURCE
#include "base/base.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static atomic_bool hung_up;

static void on_hangup(int sig) {
    (void)sig;
    atomic_store(&hung_up, true);
}

void os_catch_hangup(void) {
    struct sigaction act = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
    sigemptyset(&act.sa_mask);
    sigaction(SIGHUP, &act, NULL);
}

bool os_hung_up(void) { return atomic_exchange(&hung_up, false); }

/* ---- systemd --------------------------------------------------------------------------------- */

enum { FIRST_SOCKET = 3 }; /* SD_LISTEN_FDS_START */

static int64_t number_in(const char *name) {
    int64_t n = 0;
    const char *text = os_env(name);
    return text && str_i64(str_of(text), &n) ? n : 0;
}

bool service_socket(int *fd, Err *err) {
    const bool ours = number_in("LISTEN_PID") == (int64_t)getpid();
    const int64_t n = ours ? number_in("LISTEN_FDS") : 0;
    *fd = n == 1 ? FIRST_SOCKET : 0;
    unsetenv("LISTEN_PID"), unsetenv("LISTEN_FDS"), unsetenv("LISTEN_FDNAMES");
    return n <= 1
           || err_set(err, ERR_USAGE,
                      "systemd hands over %lld sockets: the socket unit may have one ListenStream",
                      (long long)n);
}

/* The socket that is told, connected; -1: there is none. */
static int notify_open(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *path = os_env("NOTIFY_SOCKET");
    const size_t n = path ? strlen(path) : 0;
    if (n < 2 || n >= sizeof at.sun_path || (*path != '/' && *path != '@')) return -1;
    memcpy(at.sun_path, path, n);
    if (*path == '@') at.sun_path[0] = 0; /* an abstract name */
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, size) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

void service_notify(const char *state) {
    enum { UNKNOWN = -2 };
    static int fd = UNKNOWN;
    if (fd == UNKNOWN) fd = notify_open();
    if (fd >= 0) (void)!send(fd, state, strlen(state), MSG_NOSIGNAL);
}

void os_clock(char out[OS_CLOCK]) {
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    const size_t n = strftime(out, OS_CLOCK, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + n, OS_CLOCK - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
}
