/* passages.c -- where a text is cut so that each piece says something by itself. */
#include "serve/passages.h"

enum { ENOUGH = 700, LEVELS = 6 };
static const char BLANKS[] = " \t\r\n\f";

typedef struct Cutter {
    Arena *a;
    DocumentKind kind;
    bool (*take)(void *arg, const Passage *p);
    void *arg;
    Str text;
    int64_t from, from_line; /* of the passage that grows */
    bool says;               /* more than headings */
    int64_t at, line;        /* of the line that is read next */
    Str heading[LEVELS];     /* p NULL: none of this level */
    char fence;              /* of the block of code that the line stands in; 0: in none */
} Cutter;

/* ---- headings -------------------------------------------------------------------------------- */

static Str heading_path(const Cutter *c) {
    Buf b = {.a = c->a};
    for (int i = 0; i < LEVELS; i++)
        if (c->heading[i].n) buf_fmt(&b, "%s%.*s", b.n ? " > " : "", STRF(c->heading[i]));
    return buf_str(&b);
}

/* The level of a heading, 1 to LEVELS; 0: the line is none. */
static int heading_level(Str line) {
    int level = 0;
    while (level < line.n && level <= LEVELS && line.p[level] == '#') level++;
    return level <= LEVELS && level < line.n && line.p[level] == ' ' ? level : 0;
}

static void heading_set(Cutter *c, Str line, int level) {
    c->heading[level - 1] = str_trim(line, "# \t\r\n");
    for (int i = level; i < LEVELS; i++) c->heading[i] = (Str){0};
}

/* Whether the line begins or ends a block of code, in which nothing is a heading. */
static bool fence_passed(Cutter *c, Str line) {
    const Str bare = str_trim(line, BLANKS);
    if (!str_starts(bare, STR("```")) && !str_starts(bare, STR("~~~"))) return false;
    if (!c->fence)
        c->fence = bare.p[0];
    else if (c->fence == bare.p[0])
        c->fence = 0;
    return true;
}

/* ---- cutting --------------------------------------------------------------------------------- */

/* The passage up to the byte `to`, which stands in the line `line`. */
static bool passage_end(Cutter *c, int64_t to, int64_t line) {
    const Str text = {c->text.p + c->from, to - c->from};
    const Passage p = {
        .heading = heading_path(c), .line = c->from_line, .at = c->from, .text = text};
    c->from = to, c->from_line = line, c->says = false;
    return str_trim(text, BLANKS).n == 0 || c->take(c->arg, &p);
}

static bool ends_with(Str s, int64_t to, Str end) { return str_ends((Str){s.p, to}, end); }

/* How much of a long line is a piece: up to the end of a sentence or else of a word in its second
 * half, or else whole characters. */
static int64_t piece_of(Str s) {
    int64_t word = 0, most = MIN(s.n, PASSAGE_MOST);
    while (most < s.n && most > 0 && ((uint8_t)s.p[most] & 0xc0) == 0x80) most--;
    for (int64_t i = most; i > most / 2; i--) {
        const bool blank = char_in(s.p[i - 1], " \t");
        if (blank && !word) word = i;
        if ((blank && i > 1 && char_in(s.p[i - 2], ".!?")) || ends_with(s, i, STR("。"))
            || ends_with(s, i, STR("！")))
            return i;
    }
    return word ? word : most;
}

/* A line that makes the passage too long ends it; one that is too long itself is cut. */
static bool line_add(Cutter *c, Str line) {
    const int64_t end = c->at + line.n;
    if (end - c->from > PASSAGE_MOST && c->at > c->from && !passage_end(c, c->at, c->line))
        return false;
    while (end - c->from > PASSAGE_MOST)
        if (!passage_end(c, c->from + piece_of((Str){c->text.p + c->from, end - c->from}), c->line))
            return false;
    return true;
}

static bool line_read(Cutter *c, Str line) {
    const bool code = c->kind == DOCUMENT_MARKDOWN && (fence_passed(c, line) || c->fence);
    const int level = c->kind == DOCUMENT_MARKDOWN && !code ? heading_level(line) : 0;
    const bool blank = str_trim(line, BLANKS).n == 0;
    if (level && c->says && !passage_end(c, c->at, c->line)) return false;
    if (level) heading_set(c, line, level);
    if (!line_add(c, line)) return false;
    c->says |= !level && !blank;
    c->at += line.n, c->line++;
    return !blank || code || c->at - c->from < ENOUGH || passage_end(c, c->at, c->line);
}

bool passages_cut(Arena *a, Str text, DocumentKind kind, bool (*take)(void *arg, const Passage *p),
                  void *arg) {
    Cutter c = {a, kind, take, arg, .text = text, .from_line = 1, .line = 1};
    while (c.at < text.n) {
        const char *end = memchr(text.p + c.at, '\n', (size_t)(text.n - c.at));
        const int64_t n = end ? end + 1 - (text.p + c.at) : text.n - c.at;
        if (!line_read(&c, (Str){text.p + c.at, n})) return false;
    }
    return c.from == text.n || passage_end(&c, text.n, c.line);
}
