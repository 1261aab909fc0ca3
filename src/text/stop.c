/* stop.c -- stop strings in a stream of text. Invariant: `held` is the longest end of the text so
 * far that a stop string begins with. */
#include "text/text.h"

bool stops_init(Stops *s, const Str *v, int64_t n, Err *err) {
    *s = (Stops){.v = v, .n = n};
    if (n > STOPS_MAX)
        return err_set(err, ERR_USAGE, "%lld stop strings are given; at most %d are taken",
                       (long long)n, STOPS_MAX);
    for (int64_t i = 0; i < n; i++)
        if (v[i].n < 1 || v[i].n > STOP_BYTES)
            return err_set(err, ERR_USAGE, "a stop string has %lld bytes; it must have 1 to %d",
                           (long long)v[i].n, STOP_BYTES);
    return true;
}

/* The most bytes at the end of s that a stop string begins with. */
static int64_t beginning(const Stops *s, Str text) {
    for (int64_t n = text.n; n > 0; n--)
        for (int64_t i = 0; i < s->n; i++)
            if (str_starts(s->v[i], (Str){text.p + text.n - n, n})) return n;
    return 0;
}

/* The length of the string that the text ends with, the longest of several; 0: none. */
static int64_t ended(Stops *s, Str text) {
    int64_t longest = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (str_ends(text, s->v[i]) && s->v[i].n > longest) longest = s->v[s->which = i].n;
    return longest;
}

static void byte_push(Stops *s, char c, Buf *out) {
    char all[STOP_BYTES + 1];
    Str text = {all, s->n_held + 1};
    memcpy(all, s->held, (size_t)s->n_held);
    all[s->n_held] = c;
    int64_t end = ended(s, text);
    s->found = end > 0;
    s->n_held = s->found ? 0 : beginning(s, text);
    buf_add(out, (Str){all, text.n - (s->found ? end : s->n_held)});
    memcpy(s->held, all + text.n - s->n_held, (size_t)s->n_held);
}

void stops_push(Stops *s, Str text, Buf *out) {
    for (int64_t i = 0; i < text.n && !s->found; i++) byte_push(s, text.p[i], out);
}

void stops_end(Stops *s, Buf *out) {
    if (!s->found) buf_add(out, (Str){s->held, s->n_held});
    s->n_held = 0;
}
