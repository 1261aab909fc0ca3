/* cmd_index.c -- `lisao index`: brings the index of documents up to date with folders. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>

#include "serve/serve.h"

enum { DEEP = 64, NAMED = 5 };

/* What came of the files of one root. */
typedef struct Indexing {
    Documents *documents;
    const char *root;
    int64_t files, put, kept, removed, passed_over, passages;
    Progress progress;
    Err *err;
} Indexing;

/* ---- one file -------------------------------------------------------------------------------- */

/* The first few are named; a folder may have thousands. */
static bool pass_over(Indexing *x, Arena *a, const char *path, const char *why) {
    if (x->passed_over++ < NAMED) log_at(LOG_WARN, "passed over %s: %s", path_shown(a, path), why);
    return true;
}

static bool file_put(Indexing *x, Arena *a, const DocumentFile *f, DocumentKind kind) {
    Err why = {0};
    Str text;
    int64_t passages;
    if (!document_text(a, &text, &kind, f->path.p, &why))
        return pass_over(x, a, f->path.p, why.msg);
    if (!documents_put(x->documents, f, kind, text, &passages, x->err)) return false;
    x->put++, x->passages += passages;
    return true;
}

static bool file_index(Indexing *x, const char *path, DocumentKind kind) {
    Arena *a = arena_open("document", ARENA_NO_LIMIT);
    FileStamp stamp;
    Err why = {0};
    bool has = false, fine = true;
    if (!os_stamp(&stamp, path, &why))
        fine = pass_over(x, a, path, why.msg);
    else {
        const DocumentFile f = {str_of(path), stamp.size, stamp.modified};
        fine = documents_has(x->documents, &f, &has, x->err) && (has || file_put(x, a, &f, kind));
    }
    x->files++, x->kept += has;
    progress_at(&x->progress, x->files, NULL);
    arena_close(a);
    return fine && (!os_interrupted() || err_set(x->err, ERR_INTERRUPTED, "interrupted"));
}

/* ---- folders --------------------------------------------------------------------------------- */

/* Hidden names and symbolic links are left out: what is indexed lies in the folder itself. */
static bool folder_index(Indexing *x, const char *folder, int deep) {
    Arena *a = arena_open("folder", ARENA_NO_LIMIT);
    Str *name;
    int64_t n = 0;
    Err why = {0};
    bool fine = os_list(a, &name, &n, folder, &why) || pass_over(x, a, folder, why.msg);
    for (int64_t i = 0; fine && i < n; i++) {
        const char *path = str_fmt(a, "%s/%.*s", folder, STRF(name[i])).p;
        DocumentKind kind;
        if (name[i].p[0] == '.' || os_is_link(path)) continue;
        if (os_is_dir(path))
            fine = deep < DEEP ? folder_index(x, path, deep + 1)
                               : pass_over(x, a, path, "too many folders in each other");
        else if (document_kind(&kind, name[i]))
            fine = file_index(x, path, kind);
    }
    arena_close(a);
    return fine;
}

/* A file that is named is read whatever its name ends in. */
static bool root_index(Indexing *x) {
    DocumentKind kind = DOCUMENT_TEXT;
    (void)document_kind(&kind, str_of(x->root));
    progress_start(&x->progress, "index", "file", 0);
    const bool fine =
        documents_begin(x->documents, x->err)
        && (os_is_dir(x->root) ? folder_index(x, x->root, 0) : file_index(x, x->root, kind))
        && documents_end(x->documents, str_of(x->root), &x->removed, x->err);
    progress_end(&x->progress);
    return fine;
}

/* ---- the command ----------------------------------------------------------------------------- */

static void shown(Arena *a, const Indexing *x, bool json) {
    if (json)
        json_show(json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "folder", path_shown(a, x->root),
                            "files", (json_int_t)x->files, "indexed", (json_int_t)x->put,
                            "unchanged", (json_int_t)x->kept, "removed", (json_int_t)x->removed,
                            "passed_over", (json_int_t)x->passed_over, "new_passages",
                            (json_int_t)x->passages));
    else
        printf("%s: %lld file%s: %lld indexed in %lld passages, %lld as before, %lld passed over; "
               "%lld gone\n",
               path_shown(a, x->root), (long long)x->files, plural(x->files), (long long)x->put,
               (long long)x->passages, (long long)x->kept, (long long)x->passed_over,
               (long long)x->removed);
}

int cmd_index(int argc, char **argv) {
    const char *data = NULL;
    bool json = false;
    const Opt opts[] = {DATA_OPT(&data),
                        FLAG_OPT("json", &json, "Print JSON, an object for each FOLDER.")};
    const Command c = {
        "index",
        "FOLDER...",
        "index documents, so that `lisao search` finds them",
        "Reads the documents in each FOLDER and in its folders (.txt, .md and other plain text in "
        "UTF-8, .html, .pdf; any file that is named itself) and indexes them in passages. Called "
        "again, it "
        "reads what has changed, and forgets what is gone. Hidden files and symbolic links are "
        "left out.",
        "lisao index ~/notes\nlisao search \"how do I renew the certificate?\"\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    os_catch_interrupt();
    Err err = {0};
    Arena *a = arena_open("index", ARENA_NO_LIMIT);
    Documents *d = NULL;
    bool fine = (argc > 1 || err_set(&err, ERR_USAGE, "name a FOLDER of documents"))
                && documents_open(&d, a, data, &err);
    for (int i = 1; fine && i < argc; i++) {
        Indexing x = {.documents = d, .err = &err, .root = os_real_path(a, argv[i], &err)};
        fine = x.root && root_index(&x);
        if (fine) shown(a, &x, json);
    }
    code = fine ? 0 : command_failed(&c, &err);
    documents_close(d);
    arena_close(a);
    return code;
}
