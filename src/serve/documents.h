/* documents.h -- part of serve.h: texts that answers may be taken from, cut into passages and found
 * by what they say (BM25: Robertson and Zaragoza, 2009).
 *
 * The index lies in the service's folder and can be made again from the files, so a lost write
 * costs time alone. Every call is whole or as if it had not been. Several processes may read and
 * write at a time. Threads: any; one is inside at a time. */
#pragma once
#include "base/base.h"

typedef struct Documents Documents;
typedef enum DocumentKind {
    DOCUMENT_TEXT,
    DOCUMENT_MARKDOWN,
    DOCUMENT_HTML,
    DOCUMENT_PDF
} DocumentKind;

/* A file, as it was when it was read. */
typedef struct DocumentFile {
    Str path;               /* absolute */
    int64_t size, modified; /* bytes; ns since 1970 */
} DocumentFile;

/* Some paragraphs of a file: at most PASSAGE_MOST bytes, whole lines where lines are not longer.
 * Together a file's passages are its text. */
typedef struct Passage {
    int64_t id; /* the same while the file does not change, and never that of another */
    Str path;
    Str heading;      /* those that it stands under, "Setup > Linux"; may be empty */
    int64_t line, at; /* where it begins: the line from 1, the byte from 0 */
    Str text;
    double score; /* of BM25: higher is nearer */
} Passage;
enum { PASSAGE_MOST = 1600 };

/* What the end of a file's name says of it; false: it is not for documents. */
bool document_kind(DocumentKind *kind, Str path);
/* The text of a file, in UTF-8, without a byte order mark; *kind becomes DOCUMENT_TEXT or
 * DOCUMENT_MARKDOWN. A page of HTML becomes Markdown (libxml2), and so does a PDF, with "# page 1"
 * above each page, by poppler's pdftotext, which sees nothing but the file (filter_file, decision
 * 026). ERR_LIMIT for what is too large, ERR_FORMAT for what is no text. Call it while this process
 * has one thread. */
bool document_text(Arena *a, Str *text, DocumentKind *kind, const char *path, Err *err) CHECKED;

/* In the folder data/documents (NULL: data_folder), which it makes where it is absent. */
bool documents_open(Documents **d, Arena *a, const char *data, Err *err) CHECKED;
void documents_close(Documents *d); /* NULL is fine */
/* Begins to bring the index up to date with a folder, or a file, that may have files before. */
bool documents_begin(Documents *d, Err *err) CHECKED;
/* Whether the index has this file as it is now; it counts as seen then. */
bool documents_has(Documents *d, const DocumentFile *f, bool *has, Err *err) CHECKED;
/* Puts the file's text (UTF-8, DOCUMENT_TEXT or DOCUMENT_MARKDOWN) in the place of what was there;
 * passages: how many it has. */
bool documents_put(Documents *d, const DocumentFile *f, DocumentKind kind, Str text,
                   int64_t *passages, Err *err) CHECKED;
/* Removes what lies in `root`, or is it, and was neither had nor put since documents_begin. */
bool documents_end(Documents *d, Str root, int64_t *removed, Err *err) CHECKED;
/* How many files and passages there are. */
bool documents_count(Documents *d, int64_t *files, int64_t *passages, Err *err) CHECKED;
/* The passage with this id; *there: whether there still is one. */
bool documents_passage(Documents *d, Arena *a, int64_t id, Passage *p, bool *there,
                       Err *err) CHECKED;
/* The passages that say most of what the question says, nearest first, at most *n of them; *n:
 * how many there are. */
bool documents_search(Documents *d, Arena *a, Str question, Passage *found, int64_t *n,
                      Err *err) CHECKED;
