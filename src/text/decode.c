/* decode.c -- token ids to text, byte by byte. Invariant: the bytes in `held` are the beginning of
 * a valid UTF-8 character. */
#include "text/tokenizer.h"

/* The length of the characters that begin with the n bytes at p, 0 when none does (RFC 3629, table
 * in section 4: the second byte's range depends on the first). */
static int char_length(const uint8_t *p, int n) {
    int b = p[0], lo = 0x80, hi = 0xbf;
    if (b < 0x80) return 1;
    if (b < 0xc2 || b > 0xf4) return 0;
    if (b == 0xe0) lo = 0xa0;
    if (b == 0xf0) lo = 0x90;
    if (b == 0xed) hi = 0x9f;
    if (b == 0xf4) hi = 0x8f;
    if (n > 1 && (p[1] < lo || p[1] > hi)) return 0;
    if (n > 2 && (p[n - 1] & 0xc0) != 0x80) return 0;
    return b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}

void decoder_init(Decoder *d, const Tokenizer *t, bool skip_special) {
    *d = (Decoder){.t = t, .skip_special = skip_special};
}

static void byte_push(Decoder *d, uint8_t byte, Buf *out) {
    d->held[d->n_held++] = byte;
    int n = char_length(d->held, d->n_held);
    if (n == 0 && d->n_held > 1) { /* the held character was cut off; this byte may begin a new
                                    * one */
        decoder_end(d, out);
        byte_push(d, byte, out);
    } else if (n == 0) {
        decoder_end(d, out);
    } else if (n == d->n_held) {
        buf_add(out, (Str){(char *)d->held, n});
        d->n_held = 0;
    }
}

void decoder_push(Decoder *d, int32_t id, Buf *out) {
    if (d->skip_special && token_is_special(d->t, id)) return;
    Str s = token_bytes(d->t, id);
    if (!d->begun && d->t->strips_first && s.n > 0 && s.p[0] == ' ') s.p++, s.n--;
    d->begun = true;
    for (int64_t i = 0; i < s.n; i++) byte_push(d, (uint8_t)s.p[i], out);
}

void decoder_end(Decoder *d, Buf *out) {
    if (d->n_held > 0) buf_add(out, STR("\xef\xbf\xbd"));
    d->n_held = 0;
}

void text_decode(Buf *out, const Tokenizer *t, const int32_t *ids, int64_t n, bool skip_special) {
    Decoder d;
    decoder_init(&d, t, skip_special);
    for (int64_t i = 0; i < n; i++) decoder_push(&d, ids[i], out);
    decoder_end(&d, out);
}
