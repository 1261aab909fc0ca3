/* html.c -- what a page of HTML says, as Markdown (libxml2 reads it). */
#include <libxml/HTMLparser.h>
#include <libxml/HTMLtree.h>
#include <limits.h>
#include <stdio.h>

#include "serve/extract.h"

typedef struct Page {
    Buf text;
    int breaks;    /* of lines, before what comes next */
    bool space;    /* before the next word */
    bool as_it_is; /* within pre */
} Page;

/* What an element is to its text: of the others each is a part of its line. */
typedef enum Kind { INLINE, HIDDEN, LINE, PARAGRAPH, CODE, CELL, KINDS } Kind;
static const char *const elements[KINDS] = {
    [HIDDEN] = " script style template svg math noscript select ",
    [LINE] = " li dt dd tr div br hr header footer nav main aside address form figcaption caption "
             "summary option ",
    [PARAGRAPH] = " h1 h2 h3 h4 h5 h6 title p blockquote ul ol dl table figure section article ",
    [CODE] = " pre ",
    [CELL] = " td th "};

static Kind kind_of(const char *name) {
    char word[16];
    snprintf(word, sizeof word, " %.12s ", name);
    for (Kind k = INLINE + 1; k < KINDS; k++)
        if (strstr(elements[k], word)) return k;
    return INLINE;
}

/* What Markdown has in front of it. */
static Str sign_of(const char *name) {
    static const char levels[] = "######";
    if (name[0] == 'h' && name[1] >= '1' && name[1] <= '6') return (Str){levels, name[1] - '0'};
    return !strcmp(name, "title")                                 ? STR("#")
           : !strcmp(name, "li")                                  ? STR("-")
           : name[0] == 't' && char_in(name[1], "dh") && !name[2] ? STR("|")
                                                                  : STR("");
}

static void line_end(Page *p, int breaks) {
    if (p->text.n) p->breaks = MAX(p->breaks, breaks);
    p->space &= !breaks;
}

static void put(Page *p, Str s) {
    for (; p->breaks; p->breaks--) buf_add(&p->text, STR("\n"));
    buf_add(&p->text, s);
}

static bool begins_line(const Page *p) {
    return p->breaks || p->text.n == 0 || p->text.p[p->text.n - 1] == '\n';
}

/* What would begin a line like a heading of Markdown has a blank in front. */
static void word_put(Page *p, Str word) {
    if (begins_line(p) ? word.p[0] == '#' : p->space) put(p, STR(" "));
    put(p, word);
    p->space = false;
}

static void text_put(Page *p, Str s) {
    static const char blanks[] = " \t\r\n\f";
    if (p->as_it_is) put(p, s);
    while (!p->as_it_is && s.n) {
        int64_t n = 0;
        while (n < s.n && !char_in(s.p[n], blanks)) n++;
        if (n) word_put(p, (Str){s.p, n});
        p->space |= n < s.n;
        n += n < s.n;
        s = (Str){s.p + n, s.n - n};
    }
}

static void content_put(Page *p, const xmlNode *of);

/* Within a fence nothing is a heading. */
static void code_put(Page *p, const xmlNode *of) {
    line_end(p, 2);
    put(p, STR("```\n"));
    p->as_it_is = true;
    content_put(p, of);
    p->as_it_is = false;
    line_end(p, !begins_line(p));
    put(p, STR("```"));
    line_end(p, 2);
}

static void element_put(Page *p, const xmlNode *n) {
    const Kind kind = kind_of((const char *)n->name);
    const Str sign = sign_of((const char *)n->name);
    const int breaks = kind == LINE ? 1 : 2 * (kind == PARAGRAPH || kind == CODE);
    if (kind == HIDDEN) return;
    if (kind == CODE && !p->as_it_is) {
        code_put(p, n);
        return;
    }
    line_end(p, breaks);
    if (sign.n && n->children && !p->as_it_is) {
        p->space |= kind == CELL;
        word_put(p, STR(""));
        put(p, sign);
        p->space = true;
    }
    content_put(p, n);
    line_end(p, breaks);
}

/* The parser refuses what is nested more than some hundred times. */
static void content_put(Page *p, const xmlNode *of) {
    for (const xmlNode *n = of->children; n; n = n->next)
        if (n->type == XML_TEXT_NODE || n->type == XML_CDATA_SECTION_NODE)
            text_put(p, str_of((const char *)n->content));
        else if (n->type == XML_ELEMENT_NODE)
            element_put(p, n);
}

bool html_text(Arena *a, Str *text, Str html, Err *err) {
    const int options =
        HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET;
    const char *encoding = utf8_valid(html) ? "UTF-8" : NULL;
    Page p = {.text.a = a};
    htmlParserCtxt *parser = htmlNewParserCtxt();
    CHECK(parser && html.n <= INT_MAX);
    xmlDoc *doc = html.n ? htmlCtxtReadMemory(parser, html.p, (int)html.n, NULL, encoding, options)
                         : htmlNewDoc(NULL, NULL);
    const bool fine = doc && !parser->disableSAX; /* it did not give up */
    if (fine) content_put(&p, (const xmlNode *)doc);
    if (p.text.n) buf_add(&p.text, STR("\n"));
    *text = buf_str(&p.text);
    xmlFreeDoc(doc);
    htmlFreeParserCtxt(parser);
    return fine || err_set(err, ERR_FORMAT, "it is no HTML, or nested too deep");
}
