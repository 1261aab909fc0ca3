/* extract.c -- the text of a file, whatever kind of file it is. */
#include "serve/documents.h"
#include "serve/extract.h"

enum { TEXT_MOST = 64 << 20, HTML_MOST = 16 << 20 };

static const struct {
    const char *end;
    DocumentKind kind;
} kinds[] = {{".txt", DOCUMENT_TEXT},  {".text", DOCUMENT_TEXT}, {".md", DOCUMENT_MARKDOWN},
             {".rst", DOCUMENT_TEXT},  {".org", DOCUMENT_TEXT},  {".markdown", DOCUMENT_MARKDOWN},
             {".html", DOCUMENT_HTML}, {".htm", DOCUMENT_HTML},  {".xhtml", DOCUMENT_HTML},
             {".pdf", DOCUMENT_PDF}};

bool document_kind(DocumentKind *kind, Str path) {
    for (int64_t i = 0; i < COUNT(kinds); i++) {
        const Str end = str_of(kinds[i].end);
        if (path.n <= end.n || !str_eq_caseless((Str){path.p + path.n - end.n, end.n}, end))
            continue;
        *kind = kinds[i].kind;
        return true;
    }
    return false;
}

bool document_text(Arena *a, Str *text, DocumentKind *kind, const char *path, Err *err) {
    const DocumentKind is = *kind;
    if (is != DOCUMENT_TEXT) *kind = DOCUMENT_MARKDOWN;
    if (is == DOCUMENT_PDF) return pdf_text(a, text, path, err);
    if (!os_read(a, text, path, is == DOCUMENT_HTML ? HTML_MOST : TEXT_MOST, err)) return false;
    if (is == DOCUMENT_HTML) return html_text(a, text, *text, err);
    if (!utf8_valid(*text) || memchr(text->p, 0, (size_t)text->n))
        return err_set(err, ERR_FORMAT, "it is no text in UTF-8");
    if (str_starts(*text, STR("\xef\xbb\xbf"))) text->p += 3, text->n -= 3; /* byte order mark */
    return true;
}
