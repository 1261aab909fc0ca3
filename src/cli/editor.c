/* editor.c -- libedit, with an input of our own before it.
 *
 * Bytes come in bursts: a key is a burst of one or a few, a paste one of many. Two things are
 * decided when a burst is read, for a terminal that marks pastes and for one that does not: what is
 * a paste is put between two PASTE bytes, which libedit hands to paste_key; and a line break that
 * is not the last byte of its burst is text and no Enter. It is Enter where the terminal marks its
 * pastes and has not marked this one, and where nobody has looked for a while: then lines typed
 * ahead have piled up. What came in is kept until libedit asks for it. */
#include "cli/editor.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

enum { PASTE = 0x1f, BURST = 24, HISTORY = 1000 };
static const double BURST_GAP = 0.02, /* seconds within which the rest of a paste comes */
    AHEAD = 0.1;                      /* what waited longer may have been typed ahead */

struct Editor {
    EditLine *edit;
    History *history;
    const char *file, *prompt;
    Buf typed; /* typed[at..n-1] is for libedit */
    int64_t at;
    bool pasting;  /* between the marks of a paste */
    bool marks;    /* the terminal has marked one */
    double looked; /* when input was last looked for */
    bool ended;    /* the terminal is gone */
    int64_t columns;
    Buf text; /* of paste_key */
};

/* ---- bursts ---------------------------------------------------------------------------------- */

static void put(Editor *e, char c) { buf_add(&e->typed, (Str){&c, 1}); }

/* One byte of pasted text: controls other than blanks are no text. */
static void paste_put(Editor *e, char c, bool after_cr) {
    if (c == '\r' || (c == '\n' && !after_cr)) put(e, '\n');
    if (c == '\t' || (unsigned char)c >= ' ') put(e, c == 0x7f ? ' ' : c);
}

static bool has_break_inside(Str s) {
    for (int64_t i = 0; i + 1 < s.n; i++)
        if (s.p[i] == '\n' || s.p[i] == '\r') return true;
    return false;
}

/* A burst without marks that must be a paste: long, or several lines, and no key with an ESC. */
static bool is_paste(Str s) {
    return s.n > 1 && !memchr(s.p, 0x1b, (size_t)s.n) && (s.n > BURST || has_break_inside(s));
}

static void unmarked_paste_put(Editor *e, Str s) {
    bool enter = s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r', eof = s.p[s.n - 1] == 4;
    put(e, PASTE);
    for (int64_t i = 0; i < s.n - enter; i++) paste_put(e, s.p[i], i > 0 && s.p[i - 1] == '\r');
    put(e, PASTE);
    if (enter) put(e, '\n');
    if (eof) put(e, 4);
}

/* Keys, and pastes with their marks ESC [200~ and ESC [201~. enters: every line break is Enter. */
static void keys_put(Editor *e, Str s, bool enters) {
    const Str begin = STR("\033[200~"), end = STR("\033[201~");
    for (int64_t i = 0; i < s.n; i++) {
        Str rest = {s.p + i, s.n - i};
        bool cr = i > 0 && s.p[i - 1] == '\r';
        if (!e->pasting && str_starts(rest, begin)) {
            e->pasting = e->marks = enters = true, i += begin.n - 1;
            put(e, PASTE);
        } else if (e->pasting && str_starts(rest, end)) {
            e->pasting = false, i += end.n - 1;
            put(e, PASTE);
        } else if (e->pasting) {
            paste_put(e, s.p[i], cr);
        } else if (!enters && (s.p[i] == '\n' || s.p[i] == '\r') && i + 1 < s.n
                   && !(i > 0 && s.p[i - 1] == 0x1b)) {
            put(e, PASTE), put(e, '\n'), put(e, PASTE);
        } else if (s.p[i] != PASTE) {
            put(e, s.p[i]);
        }
    }
}

/* Reads what is there, and of a paste what follows at once. ahead: it may have lain there. */
static void burst_read(Editor *e, bool ahead) {
    Arena *a = arena_open("burst", ARENA_NO_LIMIT);
    Buf burst = {.a = a};
    char bytes[4096];
    do {
        int64_t n = os_input_read(bytes, sizeof bytes);
        if (n == 0) e->ended = true;
        if (n <= 0) break;
        buf_add(&burst, (Str){bytes, n});
    } while (burst.n > 1 && os_input_wait(BURST_GAP));
    Str s = buf_str(&burst);
    if (e->at == e->typed.n) e->at = e->typed.n = 0;
    bool enters = ahead || e->marks;
    if (s.n > 0 && !e->pasting && !enters && is_paste(s))
        unmarked_paste_put(e, s);
    else
        keys_put(e, s, enters);
    arena_close(a);
}

/* Takes what comes within these seconds; false if nothing does. */
static bool input_take(Editor *e, double seconds) {
    bool ahead = os_now() - e->looked > AHEAD, came = os_input_wait(seconds);
    if (came) burst_read(e, ahead);
    e->looked = os_now();
    return came;
}

void editor_poll(Editor *e) {
    while (!e->ended && input_take(e, 0)) continue;
}

/* ---- libedit's side -------------------------------------------------------------------------- */

/* Waits until there is a byte; false at the end and at Ctrl-C. */
static bool byte_wait(Editor *e) {
    while (e->at == e->typed.n && !e->ended && !os_interrupted()) (void)input_take(e, 1);
    errno = os_interrupted() ? EINTR : 0;
    return e->at < e->typed.n && !os_interrupted();
}

static int next_char(EditLine *edit, wchar_t *out) {
    Editor *e;
    char c[4];
    el_get(edit, EL_CLIENTDATA, &e);
    for (int n = 0; n < 4;) {
        if (!byte_wait(e)) return os_interrupted() ? -1 : 0;
        c[n++] = e->typed.p[e->at++];
        if (n == 1 && (unsigned char)c[0] < 0x80) return *out = c[0], 1;
        if (utf8_length((Str){c, n}) == n) return mbtowc(out, c, (size_t)n) > 0 ? 1 : -1;
        bool goes_on =
            n == 1 ? (unsigned char)c[0] >= 0xc2 : ((unsigned char)c[n - 1] & 0xc0) == 0x80;
        if (!goes_on) n = 0; /* no character begins like that */
    }
    return *out = 0xfffd, 1;
}

/* The text up to the next PASTE goes into the line as it is. */
static unsigned char paste_key(EditLine *edit, int key) {
    Editor *e;
    (void)key;
    el_get(edit, EL_CLIENTDATA, &e);
    e->text.n = 0;
    while (byte_wait(e) && e->typed.p[e->at] != PASTE) {
        Str rest = {e->typed.p + e->at, MIN(e->typed.n - e->at, 4)};
        int n = MAX(utf8_length(rest), 1);
        buf_add(&e->text, utf8_length(rest) ? (Str){rest.p, n} : STR("\xef\xbf\xbd"));
        e->at += n;
    }
    if (e->at < e->typed.n) e->at++;
    buf_add(&e->text, (Str){"", 1});
    if (e->text.n > 1) el_insertstr(edit, e->text.p);
    return CC_REFRESH;
}

static unsigned char newline_key(EditLine *edit, int key) {
    (void)key;
    el_insertstr(edit, "\n");
    return CC_REFRESH;
}

static char *prompt_of(EditLine *edit) {
    Editor *e;
    el_get(edit, EL_CLIENTDATA, &e);
    return (char *)e->prompt;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void keys_bind(EditLine *edit) {
    static const char *const bound[][2] = {
        {"\x1f", "lisao-paste"},        {"\033\n", "lisao-newline"},
        {"\033\r", "lisao-newline"},    {"\033[3~", "ed-delete-next-char"},
        {"\033[H", "ed-move-to-beg"},   {"\033[F", "ed-move-to-end"},
        {"\033[1~", "ed-move-to-beg"},  {"\033[4~", "ed-move-to-end"},
        {"\033[1;5C", "em-next-word"},  {"\033[1;5D", "ed-prev-word"},
        {"\033[A", "ed-prev-history"},  {"\033[B", "ed-next-history"},
        {"\033[C", "ed-next-char"},     {"\033[D", "ed-prev-char"},
        {"\x12", "em-inc-search-prev"}, {"\x17", "ed-delete-prev-word"},
    };
    /* Wide strings stay the caller's; of others libedit makes copies that it never frees. */
    el_wset(edit, EL_ADDFN, L"lisao-paste", L"inserts pasted text", paste_key);
    el_wset(edit, EL_ADDFN, L"lisao-newline", L"inserts a line break", newline_key);
    for (int64_t i = 0; i < COUNT(bound); i++)
        el_set(edit, EL_BIND, bound[i][0], bound[i][1], NULL);
}

/* Asks the terminal to mark pastes, for as long as the chat lasts: they come at any time. */
static void marks_ask(bool on) {
    const char *term = os_env("TERM");
    if (!term || !strcmp(term, "dumb")) return;
    fputs(on ? "\033[?2004h" : "\033[?2004l", stdout);
    fflush(stdout);
}

Editor *editor_open(Arena *a, const char *file) {
    HistEvent event;
    Editor *e = PUSH(a, Editor, 1);
    *e = (Editor){.file = file, .prompt = "", .typed.a = a, .text.a = a};
    if (!setlocale(LC_CTYPE, "C.UTF-8")) setlocale(LC_CTYPE, "");
    os_typing_keep(false); /* libedit must see the terminal as it was */
    e->edit = el_init("lisao", stdin, stdout, stderr);
    os_typing_keep(true);
    e->history = history_init();
    if (!e->edit || !e->history) return e->ended = true, e;
    history(e->history, &event, H_SETSIZE, HISTORY);
    history(e->history, &event, H_SETUNIQUE, 1);
    if (file && os_exists(file)) history(e->history, &event, H_LOAD, file);
    el_set(e->edit, EL_CLIENTDATA, e);
    el_set(e->edit, EL_EDITOR, "emacs");
    el_set(e->edit, EL_SIGNAL, 0);
    el_set(e->edit, EL_PROMPT, prompt_of);
    el_set(e->edit, EL_HIST, history, e->history);
    el_set(e->edit, EL_GETCFN, next_char);
    keys_bind(e->edit);
    marks_ask(true);
    return e;
}

void editor_close(Editor *e) {
    HistEvent event;
    if (!e) return;
    if (e->history && e->file) history(e->history, &event, H_SAVE, e->file);
    if (e->history) history_end(e->history);
    if (e->edit) marks_ask(false);
    if (e->edit) el_end(e->edit);
    os_typing_keep(false);
}

EditResult editor_read(Editor *e, const char *prompt, Str *line) {
    int n = 0;
    HistEvent event;
    if (!e->edit) return EDIT_END;
    e->prompt = prompt;
    editor_poll(e);
    el_resize(e->edit);
    marks_ask(true); /* it may have been suspended */
    const char *text = el_gets(e->edit, &n);
    fflush(stdout);
    os_typing_keep(true);
    if (!text || n <= 0) return os_interrupted() ? EDIT_INTERRUPTED : EDIT_END;
    *line = (Str){text, n};
    if (str_ends(*line, STR("\n"))) line->n--;
    e->text.n = 0;
    buf_add(&e->text, *line);
    buf_add(&e->text, (Str){"", 1});
    *line = (Str){e->text.p, e->text.n - 1};
    if (line->n > 0) history(e->history, &event, H_ENTER, line->p);
    return EDIT_LINE;
}
