/* screen.c -- a model's text on a terminal: words are wrapped, control characters are shown as
 * pictures of themselves. Invariant: of a line `column` cells are printed, `spaces` blanks and one
 * word are held; they are printed when it is known on which line they stand. */
#include "cli/screen.h"

#include <stdio.h>
#include <utf8proc.h>

enum { TAB = 8 };

void screen_init(Screen *s) {
    *s = (Screen){.tty = os_is_tty(1)};
    s->colour = s->tty && !os_env("NO_COLOR");
}

/* ---- cells ----------------------------------------------------------------------------------- */

static void line_break(Screen *s) {
    putchar('\n');
    s->column = s->spaces = 0;
}

static void word_print(Screen *s) {
    if (s->n_word == 0) return;
    if (s->column > 0 && s->column + s->spaces + s->word_width > s->width) line_break(s);
    const char *grey = s->dim && s->colour ? "\033[2m" : "", *normal = *grey ? "\033[0m" : "";
    printf("%*s%s%.*s%s", (int)s->spaces, "", grey, (int)s->n_word, s->word, normal);
    s->column += s->spaces + s->word_width;
    s->spaces = s->n_word = s->word_width = 0;
}

/* One character of `cells` on the screen; 0: it joins what stands before it. */
static void char_add(Screen *s, Str c, int64_t cells) {
    if (cells > 0 && s->word_width + cells > s->width) word_print(s); /* longer than a line */
    if (s->n_word + c.n > (int64_t)sizeof s->word) word_print(s);
    memcpy(s->word + s->n_word, c.p, (size_t)c.n);
    s->n_word += c.n;
    s->word_width += cells;
}

/* A blank stays at the beginning of a line; what would begin the next one in wrapped text goes. */
static void blank_add(Screen *s, int64_t n) {
    word_print(s);
    s->spaces = MIN(s->spaces + n, s->width);
}

/* ---- characters ------------------------------------------------------------------------------ */

/* Of those that a terminal obeys or that turn the direction of text round: what is shown instead,
 * or 0. */
static int32_t picture_of(int32_t c) {
    if (c < 0x20) return 0x2400 + c;
    if (c == 0x7f) return 0x2421;
    bool obeyed = (c >= 0x80 && c < 0xa0) || c == 0x2028 || c == 0x2029;
    bool turns = (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
    return obeyed || turns ? 0xfffd : 0;
}

static void char_put(Screen *s, Str bytes, int32_t c) {
    char own[4];
    int32_t picture = picture_of(c);
    if (c == '\n') {
        word_print(s);
        line_break(s);
    } else if (c == '\t') {
        blank_add(s, TAB - (s->column + s->spaces + s->word_width) % TAB);
    } else if (c == ' ') {
        blank_add(s, 1);
    } else if (picture) {
        char_add(s, (Str){own, utf8_put(own, picture)}, 1);
    } else {
        int64_t cells = MAX(utf8proc_charwidth(c), 0);
        if (cells > 1) word_print(s); /* between wide characters a line may end */
        char_add(s, bytes, cells);
    }
}

void screen_put(Screen *s, Str text, bool dim) {
    if (!s->tty) {
        fwrite(text.p, 1, (size_t)text.n, stdout);
        fflush(stdout);
        return;
    }
    if (dim != s->dim) screen_flush(s);
    s->dim = dim;
    s->width = MAX(os_columns() - 1, 1); /* some terminals wrap when the last cell is filled */
    while (text.n > 0) {
        utf8proc_int32_t c;
        int64_t n = utf8proc_iterate((const uint8_t *)text.p, text.n, &c);
        if (n < 1) n = 1, c = 0xfffd;
        char_put(s, (Str){text.p, n}, c);
        text.p += n, text.n -= n;
    }
    fflush(stdout);
}

void screen_flush(Screen *s) {
    word_print(s);
    fflush(stdout);
}

void screen_line(Screen *s) {
    screen_flush(s);
    if (s->column > 0 || s->spaces > 0) line_break(s);
}

void screen_note(Screen *s, const char *fmt, ...) {
    char note[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(note, sizeof note, fmt, args);
    va_end(args);
    screen_line(s);
    screen_put(s, str_of(note), true);
    screen_line(s);
}
