/* cmd_search.c -- `lisao search`: the passages of the indexed documents that are nearest. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>

#include "serve/serve.h"

enum { PASSAGES_MOST = 100 };

static json_t *passage_json(Arena *a, const Passage *p) {
    return json_pack("{s:s, s:I, s:s%, s:f, s:s%}", "path", path_shown(a, p->path.p), "line",
                     (json_int_t)p->line, "heading", p->heading.p, (size_t)p->heading.n, "score",
                     p->score, "text", p->text.p, (size_t)p->text.n);
}

/* Lines may end in CR and LF. */
static const char *lines_shown(Arena *a, Str text) {
    Buf b = {.a = a};
    for (Str rest = str_trim(text, " \t\r\n\f"); rest.n > 0;) buf_add(&b, str_cut(&rest, '\r'));
    return text_shown(a, str_copy(a, buf_str(&b)).p);
}

static void passage_print(Arena *a, const Passage *p, int64_t rank) {
    printf("%s[%lld] %s:%lld%s%s  (%.2f)\n%s\n", rank > 1 ? "\n" : "", (long long)rank,
           path_shown(a, p->path.p), (long long)p->line, p->heading.n ? "  " : "",
           text_shown(a, p->heading.p), p->score, lines_shown(a, p->text));
}

static bool search(Arena *a, const char *data, Str question, int64_t most, bool json, Err *err) {
    Documents *d = NULL;
    Passage found[PASSAGES_MOST];
    int64_t n = most, files = 0, passages = 0;
    const bool fine = documents_open(&d, a, data, err)
                      && documents_search(d, a, question, found, &n, err)
                      && documents_count(d, &files, &passages, err);
    documents_close(d);
    if (!fine) return false;
    if (files == 0)
        return err_set(err, ERR_USAGE, "no documents are indexed yet: `lisao index FOLDER`");
    json_t *all = json ? json_array() : NULL;
    for (int64_t i = 0; i < n; i++)
        if (json)
            json_array_append_new(all, passage_json(a, &found[i]));
        else
            passage_print(a, &found[i], i + 1);
    if (json)
        json_show(all);
    else if (n == 0)
        printf("nothing was found in %lld passages of %lld file%s\n", (long long)passages,
               (long long)files, plural(files));
    return true;
}

int cmd_search(int argc, char **argv) {
    const char *data = NULL;
    int64_t most = 5;
    bool json = false;
    const Opt opts[] = {DATA_OPT(&data),
                        NUMBER_OPT(OPT_I64, "n", "N", &most, "Passages at most.", 1, PASSAGES_MOST),
                        FLAG_OPT("json", &json, "Print JSON.")};
    const Command c = {
        "search",
        "QUESTION",
        "find passages in indexed documents",
        "Prints the passages that say most of what QUESTION says, nearest first, with their place: "
        "file, line and headings. Words count more the fewer passages have them (BM25); English "
        "endings do not count, Chinese is found without blanks.",
        "lisao search \"how do I renew the certificate?\"\nlisao search 证书更新 -n 3 --json\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    Arena *a = arena_open("search", ARENA_NO_LIMIT);
    Buf question = {.a = a};
    for (int i = 1; i < argc; i++) buf_fmt(&question, "%s%s", i > 1 ? " " : "", argv[i]);
    bool fine = question.n > 0 || err_set(&err, ERR_USAGE, "say what to search for");
    fine = fine
           && (utf8_valid(buf_str(&question))
               || err_set(&err, ERR_USAGE, "the QUESTION is no text in UTF-8"));
    fine = fine && search(a, data, buf_str(&question), most, json, &err);
    code = fine ? 0 : command_failed(&c, &err);
    arena_close(a);
    return code;
}
