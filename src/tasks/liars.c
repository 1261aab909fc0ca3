/* liars.c -- two to four people, of whom each always tells the truth or always lies ("knights and
 * knaves"); each says one thing about them, and exactly one way to be fits all that is said.
 *
 * A thought first says what is said, "A:B- B:A+&C- C:#1": A says that B lies, B that A tells the
 * truth and C lies, C that one lies. "|" is or; "A=B" and "A~B" say that they are of the same kind
 * or not. Then it tries the ways in a fixed order, all telling the truth first, the last one's turn
 * to lie before the others'. "A+B-C+:A(B-)+B(A+C+)-" assumes that A and C tell the truth and B
 * lies; behind the colon stands, for each speaker, how those are that he speaks of (or how many
 * lie) and what his words make him, up to the first that contradicts the assumption. The way
 * without a contradiction is the last. Names are cut to their first letter, in Chinese to the
 * character behind 小. */
#include "tasks/parts.h"

enum { SPEAKERS = 4 };

typedef enum Form { IS, SAME, DIFFERENT, NUMBER, BOTH, ANY, FORMS } Form;
typedef struct Claim {
    Form form;
    int of[2];    /* the people that it is about; of IS one */
    bool lies[2]; /* IS, BOTH, ANY: what it says of them */
    int number;   /* NUMBER: so many lie */
} Claim;

typedef struct Puzzle {
    int n;
    Claim said[SPEAKERS]; /* by each */
    int name[SPEAKERS];
    bool chinese, knaves; /* the second wording: knights and knaves */
} Puzzle;

/* ---- logic: bit i of `liars` says that i lies ------------------------------------------------ */

static bool lies(int liars, int i) { return liars >> i & 1; }

static bool claim_true(const Claim *c, int liars) {
    const bool x = lies(liars, c->of[0]), y = lies(liars, c->of[1]);
    switch (c->form) {
    case IS: return x == c->lies[0];
    case SAME: return x == y;
    case DIFFERENT: return x != y;
    case NUMBER: return __builtin_popcount((unsigned)liars) == c->number;
    case BOTH: return x == c->lies[0] && y == c->lies[1];
    default: return x == c->lies[0] || y == c->lies[1];
    }
}

/* The first who does not speak as he should; n: everyone does. */
static int contradiction(const Puzzle *z, int liars) {
    int i = 0;
    while (i < z->n && claim_true(&z->said[i], liars) != lies(liars, i)) i++;
    return i;
}

/* The ways in the order in which they are tried. */
static int way(int n, int k) {
    int liars = 0;
    for (int i = 0; i < n; i++) liars |= (k >> (n - 1 - i) & 1) << i;
    return liars;
}

/* The number of the only way; -1: there are none or several. */
static int only_way(const Puzzle *z) {
    int found = -1;
    for (int k = 0; k < 1 << z->n; k++) {
        if (contradiction(z, way(z->n, k)) < z->n) continue;
        if (found >= 0) return -1;
        found = k;
    }
    return found;
}

static void claim_draw(Claim *c, Draws *d, int speaker, int n) {
    *c = (Claim){.form = (Form)draw_below(d, FORMS)};
    draw_some(d, c->of, 2, n);
    c->lies[0] = draw_below(d, 2), c->lies[1] = draw_below(d, 2);
    c->number = (int)draw_below(d, n + 1);
    if (c->form == IS && c->of[0] == speaker) c->of[0] = c->of[1]; /* not of oneself alone */
    if ((c->form == SAME || c->form == DIFFERENT) && c->of[0] == speaker)
        c->of[0] = c->of[1], c->of[1] = speaker; /* "Bob and I" */
}

/* ---- the canonical form ---------------------------------------------------------------------- */

enum { CLAIM_CHARS = 5 };

/* A claim where person i is called as[i], what may be exchanged in order. */
static void claim_write(char *to, const Claim *c, const int *as) {
    const bool of_one = c->form == IS, signs = of_one || c->form == BOTH || c->form == ANY;
    char side[2][2];
    for (int i = 0; i < 2; i++) {
        side[i][0] = (char)('a' + as[c->of[i]]);
        side[i][1] = !signs ? '=' : c->lies[i] ? '-' : '+';
    }
    const bool swap = !of_one && side[1][0] < side[0][0];
    to[0] = "isdnba"[c->form];
    memcpy(to + 1, side[swap], 2);
    memcpy(to + 3, of_one ? "  " : side[!swap], 2);
    if (c->form != NUMBER) return;
    memset(to + 1, ' ', 4);
    to[1] = (char)('0' + c->number);
}

/* The claims under that order of the people in which they come first by the alphabet. */
static Str canonical(Arena *a, const Puzzle *z) {
    char least[SPEAKERS * CLAIM_CHARS], form[SPEAKERS * CLAIM_CHARS];
    const size_t size = (size_t)z->n * CLAIM_CHARS;
    bool any = false;
    for (int code = 0; code < 1 << 2 * SPEAKERS;
         code++) { /* two bits for each: an order, or none */
        int as[SPEAKERS], seen = 0;
        for (int i = 0; i < z->n; i++) seen |= 1 << (as[i] = code >> 2 * i & 3);
        if (seen != (1 << z->n) - 1 || code >> 2 * z->n) continue;
        for (int i = 0; i < z->n; i++) claim_write(form + as[i] * CLAIM_CHARS, &z->said[i], as);
        if (!any || memcmp(form, least, size) < 0) memcpy(least, form, size);
        any = true;
    }
    Buf b = {.a = a};
    buf_fmt(&b, "liars");
    for (int i = 0; i < z->n; i++)
        buf_fmt(&b, " %.*s", STRF(str_trim((Str){least + i * CLAIM_CHARS, CLAIM_CHARS}, " ")));
    return buf_str(&b);
}

/* ---- wordings -------------------------------------------------------------------------------- */

static void name_say(Buf *b, const Puzzle *z, int i) {
    if (z->chinese) buf_add(b, STR("小"));
    buf_add(b, str_of((z->chinese ? people_chinese : people_english)[z->name[i]]));
}

/* "Bob lies"; of oneself "I lie". */
static void one_say(Buf *b, const Puzzle *z, int speaker, int i, bool lying) {
    static const char *const english[2][2][2] = {
        {{" tells the truth", " lies"}, {" tell the truth", " lie"}},
        {{" is a knight", " is a knave"}, {" am a knight", " am a knave"}}};
    static const char *const chinese[2][2] = {{"说真话", "说谎"}, {"是骑士", "是骗子"}};
    const bool self = i == speaker;
    if (self)
        buf_add(b, z->chinese ? STR("我") : STR("I"));
    else
        name_say(b, z, i);
    buf_add(b, str_of(z->chinese ? chinese[z->knaves][lying] : english[z->knaves][self][lying]));
}

/* "Bob and I" */
static void two_say(Buf *b, const Puzzle *z, int speaker, const int *of) {
    name_say(b, z, of[0]);
    buf_add(b, z->chinese ? STR("和") : STR(" and "));
    if (of[1] == speaker)
        buf_add(b, z->chinese ? STR("我") : STR("I"));
    else
        name_say(b, z, of[1]);
}

static void number_say(Buf *b, const Puzzle *z, int number) {
    static const char *const english[] = {"none", "exactly one", "exactly two", "exactly three"};
    static const char *const lying[2][2] = {{" lies", " lie"}, {" is a knave", " are knaves"}};
    if (z->chinese && number == z->n)
        buf_fmt(b, "我们都%s", z->knaves ? "是骗子" : "说谎");
    else if (z->chinese && number)
        buf_fmt(b, "我们当中正好有%d%s", number, z->knaves ? "个骗子" : "人说谎");
    else if (z->chinese)
        buf_fmt(b, "我们当中没有%s", z->knaves ? "骗子" : "人说谎");
    else
        buf_fmt(b, "%s of us%s",
                number < z->n ? english[number]
                : z->n == 2   ? "both"
                              : "all",
                lying[z->knaves][number > 1]);
}

static void claim_say(Buf *b, const Puzzle *z, int speaker, const Claim *c) {
    switch (c->form) {
    case IS: one_say(b, z, speaker, c->of[0], c->lies[0]); break;
    case SAME:
    case DIFFERENT:
        two_say(b, z, speaker, c->of);
        if (z->chinese)
            buf_add(b, c->form == SAME ? STR("是同一种人") : STR("不是同一种人"));
        else
            buf_add(b, c->form == SAME ? STR(" are of the same kind")
                                       : STR(" are of different kinds"));
        break;
    case NUMBER: number_say(b, z, c->number); break;
    default:
        one_say(b, z, speaker, c->of[0], c->lies[0]);
        if (z->chinese)
            buf_add(b, c->form == BOTH ? STR("，而且") : STR("，或者"));
        else
            buf_add(b, c->form == BOTH ? STR(" and ") : STR(" or "));
        one_say(b, z, speaker, c->of[1], c->lies[1]);
        if (c->form == ANY) buf_add(b, z->chinese ? STR("，或者两者都对") : STR(", or both"));
    }
}

static Str told(Arena *a, const Puzzle *z) {
    static const char *const live[2][2] = {
        {" each always tell the truth or always lie.",
         " live on an island of knights, who always tell the truth, and knaves, who always lie."},
        {"每人要么总说真话，要么总说谎。", "住在岛上，岛上的骑士总说真话，骗子总说谎。"}};
    static const char *const ask[2][2] = {{" Who lies?", " Who is a knave?"},
                                          {"谁说谎？", "谁是骗子？"}};
    Buf b = {.a = a};
    for (int i = 0; i < z->n; i++) {
        if (i && i == z->n - 1)
            buf_add(&b, z->chinese ? STR("和") : STR(" and "));
        else if (i)
            buf_add(&b, z->chinese ? STR("、") : STR(", "));
        name_say(&b, z, i);
    }
    buf_add(&b, str_of(live[z->chinese][z->knaves]));
    for (int i = 0; i < z->n; i++) {
        if (!z->chinese) buf_add(&b, STR(" "));
        name_say(&b, z, i);
        buf_add(&b, z->chinese ? STR("说：") : STR(" says: "));
        claim_say(&b, z, i, &z->said[i]);
        buf_add(&b, z->chinese ? STR("。") : STR("."));
    }
    buf_add(&b, str_of(ask[z->chinese][z->knaves]));
    return buf_str(&b);
}

/* ---- problems -------------------------------------------------------------------------------- */

static void letter_print(Buf *b, const Puzzle *z, int i) {
    const Str name = str_of((z->chinese ? people_chinese : people_english)[z->name[i]]);
    buf_add(b, (Str){name.p, utf8_length(name)});
}

static void sign_print(Buf *b, const Puzzle *z, int i, bool lying) {
    letter_print(b, z, i);
    buf_add(b, lying ? STR("-") : STR("+"));
}

/* "B+|C-" */
static void claim_print(Buf *b, const Puzzle *z, const Claim *c) {
    if (c->form == NUMBER) {
        buf_fmt(b, "#%d", c->number);
    } else if (c->form == SAME || c->form == DIFFERENT) {
        letter_print(b, z, c->of[0]);
        buf_add(b, c->form == SAME ? STR("=") : STR("~"));
        letter_print(b, z, c->of[1]);
    } else {
        sign_print(b, z, c->of[0], c->lies[0]);
        if (c->form == IS) return;
        buf_add(b, c->form == BOTH ? STR("&") : STR("|"));
        sign_print(b, z, c->of[1], c->lies[1]);
    }
}

/* "(B+C+)": how it is with what a claim is about. */
static void facts_print(Buf *b, const Puzzle *z, const Claim *c, int liars) {
    buf_add(b, STR("("));
    if (c->form == NUMBER) buf_fmt(b, "#%d", __builtin_popcount((unsigned)liars));
    for (int i = 0; c->form != NUMBER && i < (c->form == IS ? 1 : 2); i++)
        sign_print(b, z, c->of[i], lies(liars, c->of[i]));
    buf_add(b, STR(")"));
}

static Str thought(Arena *a, const Puzzle *z, int last) {
    Buf b = {.a = a};
    for (int i = 0; i < z->n; i++) {
        if (i) buf_add(&b, STR(" "));
        letter_print(&b, z, i);
        buf_add(&b, STR(":"));
        claim_print(&b, z, &z->said[i]);
    }
    for (int k = 0; k <= last; k++) {
        const int liars = way(z->n, k), stop = contradiction(z, liars);
        buf_add(&b, STR(" "));
        for (int i = 0; i < z->n; i++) sign_print(&b, z, i, lies(liars, i));
        buf_add(&b, STR(":"));
        for (int i = 0; i < z->n && i <= stop; i++) {
            letter_print(&b, z, i);
            facts_print(&b, z, &z->said[i], liars);
            buf_add(&b, claim_true(&z->said[i], liars) ? STR("+") : STR("-"));
        }
    }
    return buf_str(&b);
}

static Str liars_named(Arena *a, const Puzzle *z, int liars) {
    Buf b = {.a = a};
    for (int i = 0; i < z->n; i++) {
        if (!lies(liars, i)) continue;
        if (b.n) buf_add(&b, z->chinese ? STR("、") : STR(", "));
        name_say(&b, z, i);
    }
    if (!liars) buf_add(&b, z->chinese ? STR("没有人") : STR("nobody"));
    return buf_str(&b);
}

static void draw(Problem *p, Arena *a, Draws *d, int n) {
    Puzzle z = {.n = n, .chinese = d->index % 2};
    int last;
    do {
        for (int i = 0; i < n; i++) claim_draw(&z.said[i], d, i, n);
        last = only_way(&z);
    } while (last < 0);
    draw_some(d, z.name, n, PEOPLE);
    z.knaves = draw_wording(d, 2);
    *p = (Problem){.prompt = told(a, &z),
                   .thought = thought(a, &z, last),
                   .answer = liars_named(a, &z, way(n, last)),
                   .canonical = canonical(a, &z),
                   .stratum = task_liars.stratum[z.chinese]};
}

const Task task_liars = {.name = "liars",
                         .help = "who of two to four people lies, in English and Chinese",
                         .easiest = 2,
                         .hardest = SPEAKERS,
                         .difficulty = "people",
                         .stratum = {"english", "chinese"},
                         .draw = draw,
                         .check = check_same};
