/* net.h -- part of base.h: sockets of a server, as far as a library for HTTP does not have them. */
#pragma once

/* A socket that takes connections, non-blocking. Host: an IPv4 or IPv6 address, or "localhost",
 * which is 127.0.0.1; names are not looked up. Port 0: any that is free. */
bool net_listen(int *fd, const char *host, int64_t port, Err *err) CHECKED;
/* The same at a path, which only this user may open. A socket that nobody listens at any more is
 * replaced; anything else at the path is an error. */
bool net_listen_unix(int *fd, const char *path, Err *err) CHECKED;
/* Makes one that was inherited fit for it; an error where it takes no connections. */
bool net_adopt(int fd, Err *err) CHECKED;
int64_t net_port(int fd); /* 0: it has none */

enum { NET_ADDRESS = 48 };
struct sockaddr;
/* "127.0.0.1", "::1", "unix"; an IPv4 address in an IPv6 one is itself. */
void net_address(char out[NET_ADDRESS], const struct sockaddr *at);
void net_local(char out[NET_ADDRESS], int fd); /* the address that a socket has on this side */

/* A connection: nothing waits to be sent together with more, at most `unread` bytes wait in the
 * system, and one whose other side vanished ends within half a minute. */
void net_prepare(int fd, int64_t unread);
void net_shut(int fd);   /* ends both directions, and leaves the number in use */
void net_finish(int fd); /* says that nothing more will be sent */
void net_close(int fd);
/* Another number for the same connection, which stays open as long as one is; -1: none is left. */
int net_again(int fd);
/* Forgets what came: how many bytes; 0: nothing now; -1: no more will come. */
int64_t net_discard(int fd);
bool net_send(int fd, Str bytes); /* false unless all were taken at once */

/* What happens to connections: a set of sockets that one thread waits at and any thread changes. */
typedef struct Watch Watch;
typedef struct WatchEvent {
    uint64_t tag;
    bool ended; /* the other side sends no more, which may still read */
    bool gone;  /* neither reads nor sends */
    bool comes; /* something can be read, where that was asked for */
} WatchEvent;
bool watch_open(Watch **w, Arena *a, Err *err) CHECKED;
void watch_close(Watch *w); /* NULL is fine */
/* Each change is told once. reads: bytes that come are told, too. */
bool watch_add(Watch *w, int fd, bool reads, uint64_t tag);
void watch_remove(Watch *w, int fd);
void watch_wake(Watch *w); /* ends a watch_wait, the next one where there is none */
/* How many events came, at most `most`; waits `timeout` seconds for the first. */
int64_t watch_wait(Watch *w, WatchEvent *e, int64_t most, double timeout);

/* Where a connection may lead: elsewhere is refused. */
typedef enum NetReach {
    NET_ANYWHERE,
    NET_THIS_MACHINE, /* loopback */
    NET_PUBLIC        /* what everybody reaches: no private, local or reserved address */
} NetReach;
bool net_reaches(NetReach reach, const struct sockaddr *at);
/* Whether a host that is a number lies there, an IPv6 one in brackets or without; a name may lead
 * anywhere, and is told when it is connected to. */
bool net_host_reaches(NetReach reach, const char *host);
/* A socket for a connection to this address; -1: it lies elsewhere, or there is none. */
int net_socket(NetReach reach, const struct sockaddr *at, int type, int protocol);
