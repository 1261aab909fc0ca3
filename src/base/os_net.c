/* os_net.c -- sockets that take connections, and the set of connections that is watched. */
#define _GNU_SOURCE
#include "base/base.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024, VANISHED_MS = 30000, EVENTS = 64 };

/* ---- listening ------------------------------------------------------------------------------- */

typedef struct Address {
    struct sockaddr_storage at;
    socklen_t size;
} Address;

static bool address_parse(Address *to, const char *host, int64_t port) {
    struct sockaddr_in *v4 = (void *)&to->at;
    struct sockaddr_in6 *v6 = (void *)&to->at;
    *to = (Address){.size = sizeof *v4};
    if (!strcmp(host, "localhost")) host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        return true;
    }
    to->size = sizeof *v6;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    return inet_pton(AF_INET6, host, &v6->sin6_addr) == 1;
}

/* Closes it where something failed; errno stays. */
static bool listening(int *fd, bool fine) {
    const int why = errno;
    if (!fine && *fd >= 0) close(*fd), *fd = -1;
    errno = why;
    return fine;
}

bool net_listen(int *fd, const char *host, int64_t port, Err *err) {
    Address a;
    const int on = 1;
    CHECK(port >= 0 && port <= 65535);
    *fd = -1;
    if (!address_parse(&a, host, port))
        return err_set(err, ERR_USAGE, "\"%s\" is no IPv4 or IPv6 address, and not \"localhost\"",
                       host);
    *fd = socket(a.at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listening(fd, *fd >= 0 && !setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on)
                          && !bind(*fd, (struct sockaddr *)&a.at, a.size) && !listen(*fd, BACKLOG)))
        return true;
    return err_set(err, ERR_IO, "listening on %s, port %lld: %s%s", host, (long long)port,
                   strerror(errno), errno == EADDRINUSE ? " (port 0 takes a free one)" : "");
}

/* Whether a socket lies there at which nobody listens. */
static bool is_left_over(const struct sockaddr_un *at) {
    struct stat st;
    if (lstat(at->sun_path, &st) || !S_ISSOCK(st.st_mode)) return false;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof *at) < 0
                         && errno == ECONNREFUSED;
    if (fd >= 0) close(fd);
    return refused;
}

bool net_listen_unix(int *fd, const char *path, Err *err) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    *fd = -1;
    if (strlen(path) >= sizeof at.sun_path)
        return err_set(err, ERR_USAGE, "the path of a socket has at most %d bytes: %s",
                       (int)sizeof at.sun_path - 1, path);
    memcpy(at.sun_path, path, strlen(path) + 1);
    if (is_left_over(&at)) unlink(path);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Nobody connects before listen, so the mode is right in time. */
    if (listening(fd, *fd >= 0 && !bind(*fd, (struct sockaddr *)&at, sizeof at)
                          && !chmod(path, 0600) && !listen(*fd, BACKLOG)))
        return true;
    return err_set(err, ERR_IO, "listening at %s: %s", path, strerror(errno));
}

bool net_adopt(int fd, Err *err) {
    int on = 0;
    socklen_t size = sizeof on;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &size) || !on)
        return err_set(err, ERR_USAGE, "file %d, which was inherited, is no listening socket", fd);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return true;
}

int64_t net_port(int fd) {
    Address a = {.size = sizeof a.at};
    if (getsockname(fd, (struct sockaddr *)&a.at, &a.size)) return 0;
    if (a.at.ss_family == AF_INET) return ntohs(((struct sockaddr_in *)&a.at)->sin_port);
    if (a.at.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&a.at)->sin6_port);
    return 0;
}

void net_address(char out[NET_ADDRESS], const struct sockaddr *at) {
    snprintf(out, NET_ADDRESS, "unix");
    if (!at) return;
    if (at->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)at)->sin_addr, out,
                  NET_ADDRESS);
    if (at->sa_family != AF_INET6) return;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)at)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(v6))
        inet_ntop(AF_INET, &v6->s6_addr[12], out, NET_ADDRESS);
    else
        inet_ntop(AF_INET6, v6, out, NET_ADDRESS);
}

void net_local(char out[NET_ADDRESS], int fd) {
    Address a = {.size = sizeof a.at};
    const bool known = !getsockname(fd, (struct sockaddr *)&a.at, &a.size);
    net_address(out, known ? (struct sockaddr *)&a.at : NULL);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void option(int fd, int level, int name, int value) {
    (void)!setsockopt(fd, level, name, &value, sizeof value);
}

void net_prepare(int fd, int64_t unread) {
    option(fd, SOL_SOCKET, SO_SNDBUF, (int)MIN(unread, 1 << 30));
    option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    option(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* these fail on a Unix socket, which needs none */
    option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
    option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
    option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, VANISHED_MS);
}

void net_shut(int fd) { shutdown(fd, SHUT_RDWR); }
void net_finish(int fd) { shutdown(fd, SHUT_WR); }
void net_close(int fd) { close(fd); }
int net_again(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 0); }

int64_t net_discard(int fd) {
    char bytes[16384];
    const ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    return got > 0 ? got : -1;
}

bool net_send(int fd, Str bytes) {
    return send(fd, bytes.p, (size_t)bytes.n, MSG_DONTWAIT | MSG_NOSIGNAL) == bytes.n;
}

/* ---- the set that is watched ----------------------------------------------------------------- */

struct Watch {
    int set, bell;
};
static const uint64_t BELL = UINT64_MAX;

static bool add(const Watch *w, int fd, uint32_t events, uint64_t tag) {
    struct epoll_event e = {.events = events, .data.u64 = tag};
    return epoll_ctl(w->set, EPOLL_CTL_ADD, fd, &e) == 0;
}

bool watch_open(Watch **out, Arena *a, Err *err) {
    Watch *w = PUSH(a, Watch, 1);
    *out = w;
    w->set = epoll_create1(EPOLL_CLOEXEC);
    w->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->set >= 0 && w->bell >= 0 && add(w, w->bell, EPOLLIN, BELL)) return true;
    err_set(err, ERR_LIMIT, "watching connections: %s", strerror(errno));
    watch_close(w);
    *out = NULL;
    return false;
}

void watch_close(Watch *w) {
    if (!w) return;
    if (w->set >= 0) close(w->set);
    if (w->bell >= 0) close(w->bell);
}

bool watch_add(Watch *w, int fd, bool reads, uint64_t tag) {
    return add(w, fd, EPOLLET | EPOLLRDHUP | (reads ? EPOLLIN : 0u), tag);
}

void watch_remove(Watch *w, int fd) { epoll_ctl(w->set, EPOLL_CTL_DEL, fd, NULL); }

void watch_wake(Watch *w) {
    const uint64_t one = 1;
    (void)!write(w->bell, &one, sizeof one);
}

int64_t watch_wait(Watch *w, WatchEvent *to, int64_t most, double timeout) {
    struct epoll_event e[EVENTS];
    const int ms = (int)(1000 * MIN(MAX(timeout, 0), 3600) + 0.999);
    const int n = epoll_wait(w->set, e, (int)MIN(most, EVENTS), ms);
    int64_t count = 0;
    uint64_t rung;
    for (int i = 0; i < n; i++) {
        if (e[i].data.u64 == BELL) {
            (void)!read(w->bell, &rung, sizeof rung);
            continue;
        }
        to[count++] = (WatchEvent){.tag = e[i].data.u64,
                                   .ended = e[i].events & EPOLLRDHUP,
                                   .gone = e[i].events & (EPOLLHUP | EPOLLERR),
                                   .comes = e[i].events & EPOLLIN};
    }
    return count;
}

/* ---- where connections lead ------------------------------------------------------------------ */

/* An IPv4 network: its number in host order, and how many bits of it count. */
typedef struct Block4 {
    uint32_t net;
    int bits;
} Block4;

#define V4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (d))

/* What is no public address (IANA's registry of special-purpose addresses, RFC 6890). */
static const Block4 reserved4[] = {
    {V4(0, 0, 0, 0), 8},      {V4(10, 0, 0, 0), 8},     {V4(100, 64, 0, 0), 10},
    {V4(127, 0, 0, 0), 8},    {V4(169, 254, 0, 0), 16}, {V4(172, 16, 0, 0), 12},
    {V4(192, 0, 0, 0), 24},   {V4(192, 0, 2, 0), 24},   {V4(192, 88, 99, 0), 24},
    {V4(192, 168, 0, 0), 16}, {V4(198, 18, 0, 0), 15},  {V4(198, 51, 100, 0), 24},
    {V4(203, 0, 113, 0), 24}, {V4(224, 0, 0, 0), 3}};

static bool reaches4(NetReach reach, uint32_t at) {
    if (reach == NET_THIS_MACHINE) return at >> 24 == 127;
    for (int64_t i = 0; i < COUNT(reserved4); i++)
        if ((at ^ reserved4[i].net) >> (32 - reserved4[i].bits) == 0) return false;
    return true;
}

static uint32_t embedded4(const uint8_t *p) { return V4(p[0], p[1], p[2], p[3]); }

/* Public are those of 2000::/3, but for examples (2001:db8::/32), protocols and Teredo
 * (2001::/23), and 6to4; and what NAT64 (64:ff9b::/96) makes of a public IPv4 address. */
static bool reaches6(NetReach reach, const uint8_t at[16]) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, nat64[12] = {0, 0x64, 0xff, 0x9b},
                         loopback[16] = {[15] = 1};
    if (!memcmp(at, mapped, sizeof mapped)) return reaches4(reach, embedded4(at + 12));
    if (reach == NET_THIS_MACHINE) return !memcmp(at, loopback, sizeof loopback);
    if (!memcmp(at, nat64, sizeof nat64)) return reaches4(reach, embedded4(at + 12));
    const uint32_t front = embedded4(at);
    return at[0] >> 5 == 1 && front >> 9 != 0x20010000 >> 9 && front != 0x20010db8
           && front >> 16 != 0x2002 && front >> 12 != 0x3fff0000 >> 12;
}

bool net_reaches(NetReach reach, const struct sockaddr *at) {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (reach == NET_ANYWHERE) return true;
    if (at->sa_family == AF_INET) {
        memcpy(&v4, at, sizeof v4);
        return reaches4(reach, ntohl(v4.sin_addr.s_addr));
    }
    if (at->sa_family != AF_INET6) return false;
    memcpy(&v6, at, sizeof v6);
    return reaches6(reach, v6.sin6_addr.s6_addr);
}

bool net_host_reaches(NetReach reach, const char *host) {
    const Str bare = str_trim(str_of(host), "[]");
    Address to;
    char text[NET_ADDRESS];
    if (bare.n >= COUNT(text) || !strcmp(host, "localhost")) return true;
    snprintf(text, sizeof text, "%.*s", STRF(bare));
    return !address_parse(&to, text, 0) || net_reaches(reach, (struct sockaddr *)&to.at);
}

int net_socket(NetReach reach, const struct sockaddr *at, int type, int protocol) {
    return net_reaches(reach, at) ? socket(at->sa_family, type | SOCK_CLOEXEC, protocol) : -1;
}
