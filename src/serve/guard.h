/* guard.h -- private to serve/: whether a request's head is one that every proxy reads alike.
 *
 * libmicrohttpd forgives: it joins folded lines, takes LF for CRLF, cuts at a NUL and counts the
 * first of two lengths. So it is judged here what it has read, and, by where each piece stood among
 * the bytes that came, whether it had to forgive anything. (That the head has the right size as a
 * whole would not do: a space too many in one line makes up for a CR that is missing in another.)
 * A pure function of its arguments. */
#pragma once
#include "base/base.h"

/* Positions are counted from the first byte of the method. value_at is -1 where the bytes around
 * the value are not those of a plain line. */
typedef struct GuardHeader {
    Str name, value;
    int64_t name_at, value_at;
} GuardHeader;

typedef struct GuardRequest {
    Str method, target, version; /* "POST", the target as it was sent, "HTTP/1.1" */
    int64_t target_at, version_at;
    const GuardHeader *header; /* the first GUARD_HEADERS of them, in order */
    int64_t n_headers;         /* how many there are */
    int64_t head_bytes;        /* of the head, from the method to behind the empty line */
} GuardRequest;

enum { GUARD_HEADERS = 100, GUARD_HEAD = 32 << 10, GUARD_TARGET = 8 << 10 }; /* at most */

typedef struct GuardLimits {
    int64_t body_bytes;       /* most that a request may declare */
    const char *const *names; /* of hosts that requests may be for; any case, without a port */
    int64_t n_names;
    bool any_address; /* or for an IP address, which no stranger's name can lead to */
} GuardLimits;

typedef struct Verdict {
    int64_t status;  /* 0: it may pass; else 400, 413, 414, 417 or 431 */
    const char *why; /* a sentence for the client; NULL where it may pass */
    int64_t body;    /* its declared length, 0 for none; -1: it comes in chunks */
} Verdict;

Verdict guard_judge(const GuardRequest *r, const GuardLimits *l);

/* Makes each NUL of n bytes that came from a client a 0x01, before libmicrohttpd sees them: in a
 * head either is refused, but a NUL looks like the zeros that libmicrohttpd writes over CR and LF.
 * A body is JSON, which can hold neither. */
void guard_hide_nuls(char *p, int64_t n);
