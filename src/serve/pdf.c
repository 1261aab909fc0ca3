/* pdf.c -- what a PDF says, by poppler's pdftotext. */
#include "serve/extract.h"

enum { TEXT_MOST = 64 << 20, SECONDS = 120 };
static const char *const argv[] = {"pdftotext", "-enc", "UTF-8", "-", "-", NULL};

/* Pages end with a form feed. A line that would be a heading of Markdown has a blank in front. */
static Str pages_named(Arena *a, Str text) {
    Buf b = {.a = a};
    for (int64_t page = 1; text.n; page++) {
        Str left = str_cut(&text, '\f');
        if (str_trim(left, " \r\n").n == 0) continue;
        buf_fmt(&b, "%s# page %lld\n\n", b.n ? "\n" : "", (long long)page);
        while (left.n) {
            const Str line = str_cut(&left, '\n');
            buf_fmt(&b, "%s%.*s\n", str_starts(line, STR("#")) ? " " : "", STRF(line));
        }
    }
    return buf_str(&b);
}

static bool told(Arena *a, Str *text, bool fine, Str all, const Err *why, Err *err) {
    if (fine) *text = pages_named(a, all);
    return fine
           || err_set(err, why->code, "%s%s", why->msg,
                      why->code == ERR_UNSUPPORTED ? " (Debian: apt install poppler-utils)" : "");
}

bool pdf_text(Arena *a, Str *text, const char *path, Err *err) {
    Err why = {0};
    Str all;
    const bool fine = filter_file(a, &all, argv, path, TEXT_MOST, SECONDS, &why);
    return told(a, text, fine, all, &why, err);
}

bool pdf_bytes_text(Arena *a, Str *text, Str pdf, int64_t most, double seconds, Err *err) {
    Err why = {0};
    Str all;
    const bool fine = filter_bytes(a, &all, argv, pdf, most, seconds, &why);
    return told(a, text, fine, all, &why, err);
}
