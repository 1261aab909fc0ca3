/* extract.h -- private to serve/: what files say that are no text, as Markdown. */
#pragma once
#include "base/base.h"

/* Has a process of readers_open read a file of at most EXTRACT_MOST bytes, a PDF or HTML, and gives
 * its text in UTF-8. ERR_FORMAT: it cannot be read; ERR_UNSUPPORTED: pdftotext is not installed;
 * *busy: all are at work. */
bool reader_ask(Helpers *readers, Arena *a, Str *text, bool pdf, Str file, bool *busy,
                Err *err) CHECKED;

/* A page's headings, paragraphs, lists, rows of tables and blocks of code; neither scripts nor
 * styles. The encoding is UTF-8 where the bytes are that, or else what the page says. */
bool html_text(Arena *a, Str *text, Str html, Err *err) CHECKED;
/* See document_text. */
bool pdf_text(Arena *a, Str *text, const char *path, Err *err) CHECKED;
/* The same of bytes: pdftotext may write `most` bytes and take so many seconds. */
bool pdf_bytes_text(Arena *a, Str *text, Str pdf, int64_t most, double seconds, Err *err) CHECKED;
