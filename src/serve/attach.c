/* attach.c -- POST /extract: what a PDF or a page of HTML says, for somebody to ask about it.
 *
 * Such files come from anybody, and the service may start no program once it serves. So the bytes
 * go to one of FILE_READERS processes that were there before (helpers_open), which has yet another
 * one read them that sees nothing else and ends with it (filter_bytes, filter_call; decision 030).
 */
#include "serve/api.h"
#include "serve/extract.h"

#include <sodium.h>

/* The program's own bound is the first that holds; PATIENCE is for a machine that is slow. */
enum { TEXT_MOST = HELPER_ANSWER - (64 << 10), SECONDS = 20, PATIENCE = 60 };

const Field extract_fields[] = {
    {"type", FIELD_TEXT, P(type), 0, 0,
     "Of the file: application/pdf, where the server's machine has pdftotext, or text/html.", NULL},
    {"data", FIELD_JSON, P(data), 0, 0, "The file in base64, at most 16 MB of it.",
     "{\"type\":\"string\",\"contentEncoding\":\"base64\"}"},
};
const int64_t n_extract_fields = COUNT(extract_fields);
const char extract_types[] = "type Extracted = {object: 'extracted'; text: string};\n";

/* ---- in the other process -------------------------------------------------------------------- */

/* The last byte of a question, behind the file. */
enum { PDF = 'p', HTML = 'h' };

/* That a file cannot be read is its own fault, whatever came of it. */
static bool file_read(void *arg, Arena *a, Str question, Str *text, Err *err) {
    const Str file = {question.p, question.n - 1};
    (void)arg;
    const bool pdf = question.p[file.n] == PDF;
    const bool fine =
        pdf ? pdf_bytes_text(a, text, file, TEXT_MOST, SECONDS, err)
            : filter_call(a, text, "the reader of HTML", html_text, file, TEXT_MOST, SECONDS, err);
    if (fine && text->n > HELPER_ANSWER) return err_set(err, ERR_FORMAT, "it has too many pages");
    if (!fine && err->code != ERR_UNSUPPORTED) err->code = ERR_FORMAT;
    return fine;
}

bool readers_open(Helpers **readers, Arena *a, Err *err) {
    const HelpersSpec spec = {.kind = HELPER_STARTS,
                              .fn = file_read,
                              .n = FILE_READERS,
                              .at_work = "files are being read"};
    return helpers_open(readers, a, &spec, err);
}

/* ---- in this one ----------------------------------------------------------------------------- */

bool reader_ask(Helpers *readers, Arena *a, Str *text, bool pdf, Str file, bool *busy, Err *err) {
    char *question = PUSH(a, char, file.n + 1);
    if (file.n) memcpy(question, file.p, (size_t)file.n);
    question[file.n] = pdf ? PDF : HTML;
    return helpers_ask(readers, a, (Str){question, file.n + 1}, text, PATIENCE, busy, err)
           && (utf8_valid(*text) || err_set(err, ERR_FORMAT, "its text is no UTF-8"));
}

static bool base64_fault(Call *c) {
    return fault_value(&c->fault, "data", "data must be the file in base64, at most %d MB of it",
                       EXTRACT_MOST >> 20);
}

static bool file_decode(Call *c, bool *pdf, Str *file) {
    const Str data = json_text(c->p.data);
    size_t n = 0;
    *pdf = str_eq(c->p.type, STR("application/pdf"));
    if (!*pdf && !str_eq(c->p.type, STR("text/html")))
        return fault_value(&c->fault, "type", "type must be application/pdf or text/html");
    if (!data.p || data.n / 4 > EXTRACT_MOST / 3 + 1) return base64_fault(c);
    const int64_t room = data.n / 4 * 3 + 3;
    char *p = PUSH(c->a, char, room);
    if (sodium_base642bin((uint8_t *)p, (size_t)room, data.p, (size_t)data.n, NULL, &n, NULL,
                          sodium_base64_VARIANT_ORIGINAL)
        || n > EXTRACT_MOST)
        return base64_fault(c);
    *file = (Str){p, (int64_t)n};
    return true;
}

static bool reader_fault(Call *c, bool busy, const Err *err) {
    const char *invalid = "invalid_request_error";
    if (busy)
        return fault_set(&c->fault, 503, "server_error", "overloaded", NULL,
                         "%s: try again in a moment", err->msg);
    if (err->code == ERR_UNSUPPORTED)
        return fault_set(&c->fault, 501, "server_error", "not_installed", "type",
                         "reading a PDF: %s", err->msg);
    if (err->code == ERR_FORMAT)
        return fault_set(&c->fault, 400, invalid, "unreadable_file", "data",
                         "the file cannot be read: %s", err->msg);
    return fault_set(&c->fault, 500, "server_error", "internal_error", NULL,
                     "the file was not read: %s", err->msg);
}

void answer_extract(Call *c) {
    Helpers *readers = c->api->spec->readers;
    Str file, text;
    Err err = {0};
    bool pdf, busy = false;
    if (!members_read(c, extract_fields, n_extract_fields) || !file_decode(c, &pdf, &file)) return;
    if (!readers)
        fault_set(&c->fault, 501, "server_error", "not_installed", NULL,
                  "this server has nobody who reads files");
    else if (!reader_ask(readers, c->a, &text, pdf, file, &busy, &err))
        reader_fault(c, busy, &err);
    else
        answer_json(c, json_pack("{s:s, s:o}", "object", "extracted", "text", json_of(text)));
}
