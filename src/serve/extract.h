/* extract.h -- private to serve/: what files say that are no text, as Markdown. */
#pragma once
#include "base/base.h"

/* A page's headings, paragraphs, lists, rows of tables and blocks of code; neither scripts nor
 * styles. The encoding is UTF-8 where the bytes are that, or else what the page says. */
bool html_text(Arena *a, Str *text, Str html, Err *err) CHECKED;
/* See document_text. */
bool pdf_text(Arena *a, Str *text, const char *path, Err *err) CHECKED;
