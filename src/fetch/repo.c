/* repo.c -- from a repository's list of files to those that make a model. Everything here comes
 * from a server or a user; nothing here touches the network or the disk. */
#include <jansson.h>

#include "fetch/http.h"
#include "fetch/repo.h"

enum { NAME_BYTES = 200, PATH_BYTES = 1000, SHOWN_BYTES = 500 };
static const int64_t SIZE_MOST = (int64_t)1 << 50;

/* ---- names ----------------------------------------------------------------------------------- */

static Str base_of(Str path) {
    int64_t at = path.n;
    while (at > 0 && path.p[at - 1] != '/') at--;
    return path.n ? (Str){path.p + at, path.n - at} : path;
}

/* Characters that are seen as what they are. */
static bool printable(Str s) {
    while (s.n > 0) {
        int n = utf8_length(s);
        if (text_hidden(s)) return false;
        s.p += n, s.n -= n;
    }
    return true;
}

bool name_usable(Str s) {
    return s.n > 0 && s.n <= NAME_BYTES && s.p[0] != '.' && printable(s)
           && !memchr(s.p, '/', (size_t)s.n) && !memchr(s.p, '\\', (size_t)s.n);
}

/* Parts of letters with slashes between them; none of them leads elsewhere. */
static bool path_usable(Str path) {
    if (path.n == 0 || path.n > PATH_BYTES || !printable(path)) return false;
    for (int64_t at = 0; at <= path.n;) {
        const char *slash = memchr(path.p + at, '/', (size_t)(path.n - at));
        Str part = {path.p + at, slash ? slash - path.p - at : path.n - at};
        if (part.n == 0 || part.n > NAME_BYTES || str_eq(part, STR(".")) || str_eq(part, STR(".."))
            || memchr(part.p, '\\', (size_t)part.n))
            return false;
        at += part.n + 1;
    }
    return true;
}

int64_t part_of_split(Str name, int64_t *parts) {
    int64_t part;
    if (name.n <= SPLIT_END || !str_ends(name, STR(".gguf"))) return 0;
    const char *p = name.p + name.n - SPLIT_END;
    if (p[0] != '-' || memcmp(p + 6, "-of-", 4) != 0 || !str_i64((Str){p + 1, 5}, &part)
        || !str_i64((Str){p + 10, 5}, parts))
        return 0;
    return part >= 1 && part <= *parts ? part : 0;
}

bool is_sha256(Str s) {
    for (int64_t i = 0; i < s.n; i++)
        if (!char_in(s.p[i], "0123456789abcdef")) return false;
    return s.n == 64;
}

/* ---- OWNER/NAME@REVISION:CHOICE -------------------------------------------------------------- */

static bool repo_usable(Str repo) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._";
    int64_t slashes = 0;
    for (int64_t i = 0; i < repo.n; i++) {
        slashes += repo.p[i] == '/';
        if (repo.p[i] != '/' && !char_in(repo.p[i], letters)) return false;
    }
    Str name = base_of(repo);
    return slashes == 1 && path_usable(repo) && name.p[0] != '.' && repo.p[0] != '.';
}

/* What stands behind the first c; s ends before it. */
static Str cut_at(Str *s, char c) {
    const char *at = s->n ? memchr(s->p, c, (size_t)s->n) : NULL;
    if (!at) return (Str){0};
    Str rest = {at + 1, s->n - (at + 1 - s->p)};
    s->n = at - s->p;
    return rest;
}

bool spec_parse(RepoSpec *s, Arena *a, Str text, Err *err) {
    if (str_starts(text, STR("hf:"))) text.p += 3, text.n -= 3;
    const char *shown = text_line(a, text, 200);
    *s = (RepoSpec){.repo = text};
    s->choice = cut_at(&s->repo, ':');
    s->revision = cut_at(&s->repo, '@');
    if (!repo_usable(s->repo))
        return err_set(err, ERR_USAGE,
                       "\"%s\" names no repository: OWNER/NAME is wanted, perhaps with @REVISION "
                       "and :FILE or :TYPE behind it, such as Qwen/Qwen3-0.6B-GGUF:Q8_0",
                       shown);
    if (s->choice.p && s->choice.n == 0)
        return err_set(err, ERR_USAGE, "\"%s\": there is nothing behind the colon", shown);
    if (!s->revision.p) s->revision = STR("main");
    if (!path_usable(s->revision) || (s->choice.n && !path_usable(s->choice)))
        return err_set(err, ERR_USAGE, "\"%s\": the revision or the file has no usable name",
                       shown);
    return true;
}

/* ---- the list -------------------------------------------------------------------------------- */

void listing_init(Listing *l, Arena *a) {
    *l = (Listing){.file = PUSH(a, RepoFile, LISTING_FILES)};
}

static Str text_of(Arena *a, const json_t *v) {
    return json_is_string(v)
               ? str_copy(a, (Str){json_string_value(v), (int64_t)json_string_length(v)})
               : (Str){0};
}

/* {"type": "file", "path", "size", "oid", "lfs": {"oid", "size"}} */
static bool entry_add(Listing *l, Arena *a, const json_t *v, const char *repo, Err *err) {
    const json_t *lfs = json_object_get(v, "lfs"), *size = json_object_get(v, "size");
    const char *type = json_string_value(json_object_get(v, "type"));
    if (type && strcmp(type, "file") != 0) return true; /* a folder */
    RepoFile f = {.path = text_of(a, json_object_get(v, "path"))};
    f.hashed = json_is_object(lfs);
    f.id = text_of(a, json_object_get(f.hashed ? lfs : v, "oid"));
    if (f.hashed && json_object_get(lfs, "size")) size = json_object_get(lfs, "size");
    if (f.hashed && str_starts(f.id, STR("sha256:"))) f.id.p += 7, f.id.n -= 7;
    f.base = base_of(f.path);
    f.size = json_is_integer(size) ? json_integer_value(size) : -1;
    if (!path_usable(f.path))
        return err_set(err, ERR_FORMAT,
                       "the list of files of %s has one named \"%s\", which is no name that a "
                       "file gets here: nothing was fetched",
                       repo, text_line(a, f.path, 100));
    if (f.size < 0 || f.size > SIZE_MOST || (f.hashed && !is_sha256(f.id)))
        return err_set(err, ERR_FORMAT,
                       "the list of files of %s gives %s %s: the server does not speak the hub's "
                       "language (HF_ENDPOINT?)",
                       repo, text_line(a, f.path, 100),
                       f.size < 0 || f.size > SIZE_MOST ? "no size" : "no SHA-256");
    if (l->n == LISTING_FILES)
        return err_set(err, ERR_LIMIT, "%s has more than %d files", repo, LISTING_FILES);
    l->file[l->n++] = f;
    return true;
}

bool listing_add(Listing *l, Arena *a, Str json, const char *repo, Err *err) {
    json_error_t at;
    size_t i;
    const json_t *v;
    json_t *list = json_loadb(json.n ? json.p : "", (size_t)json.n, JSON_REJECT_DUPLICATES, &at);
    bool fine = json_is_array(list)
                || err_set(err, ERR_FORMAT,
                           "the list of files of %s is no JSON array: the server does not speak "
                           "the hub's language (HF_ENDPOINT?)",
                           repo);
    if (fine) json_array_foreach(list, i, v) {
            if (!(fine = entry_add(l, a, v, repo, err))) break;
        }
    json_decref(list);
    return fine;
}

/* ---- GGUF files ------------------------------------------------------------------------------ */

/* A model, or the first part of one: no projector of images, which has the same ending. */
static bool is_gguf(const RepoFile *f) {
    int64_t parts;
    return str_ends(f->base, STR(".gguf")) && name_usable(f->base)
           && !str_starts(f->base, STR("mmproj")) && part_of_split(f->base, &parts) <= 1;
}

/* "X-Q4_K_M.gguf" and "X.q4_k_m-00001-of-00002.gguf" are of type Q4_K_M. */
static bool has_type(const RepoFile *f, Str type) {
    int64_t parts;
    Str stem = {f->base.p, f->base.n - (part_of_split(f->base, &parts) ? SPLIT_END : 5)};
    int64_t before = stem.n - type.n;
    return before >= 0 && str_eq_caseless((Str){stem.p + before, type.n}, type)
           && (before == 0 || char_in(stem.p[before - 1], "-._"));
}

/* The part number `part` of the file that `first` is the first part of. */
static bool is_part(const RepoFile *f, const RepoFile *first, int64_t part) {
    int64_t parts, all, head = first->path.n - SPLIT_END;
    part_of_split(first->base, &all);
    return f->path.n == first->path.n && part_of_split(f->base, &parts) == part && parts == all
           && !memcmp(f->path.p, first->path.p, (size_t)head);
}

static bool gguf_take(Choice *c, Arena *a, const Listing *l, const RepoFile *first, Err *err) {
    int64_t parts = 1;
    if (!part_of_split(first->base, &parts)) parts = 1;
    c->file = PUSH(a, const RepoFile *, parts);
    for (int64_t part = 1; part <= parts; part++) {
        const RepoFile *f = part == 1 ? first : NULL;
        for (int64_t i = 0; i < l->n && !f; i++)
            if (is_part(&l->file[i], first, part)) f = &l->file[i];
        if (!f)
            return err_set(err, ERR_FORMAT, "%.*s has %lld parts, and number %lld is not there",
                           STRF(first->path), (long long)parts, (long long)part);
        c->file[c->n++] = f;
    }
    return true;
}

/* "; there are: A, B, ..." */
static Str ggufs_there(Arena *a, const Listing *l) {
    Buf b = {.a = a};
    for (int64_t i = 0; i < l->n; i++) {
        if (!is_gguf(&l->file[i])) continue;
        if (b.n > SHOWN_BYTES) return buf_add(&b, STR(", ...")), buf_str(&b);
        buf_fmt(&b, "%s%.*s", b.n ? ", " : "; there are: ", STRF(l->file[i].path));
    }
    if (b.n == 0) buf_add(&b, STR("; there is no GGUF file at all"));
    return buf_str(&b);
}

/* The one of a type; NULL where there is none or, with an Err, several. */
static const RepoFile *gguf_of_type(const Listing *l, Str type, const RepoSpec *s, Err *err) {
    const RepoFile *found = NULL;
    for (int64_t i = 0; i < l->n; i++) {
        if (!is_gguf(&l->file[i]) || !has_type(&l->file[i], type)) continue;
        if (found) {
            err_set(err, ERR_USAGE,
                    "%.*s has several files of type %.*s, such as %.*s and %.*s: give the file",
                    STRF(s->repo), STRF(type), STRF(found->path), STRF(l->file[i].path));
            return NULL;
        }
        found = &l->file[i];
    }
    return found;
}

/* By path, by the last part of one, by the number of any part; else by type. */
static const RepoFile *gguf_named(Arena *a, const Listing *l, const RepoSpec *s, Err *err) {
    int64_t parts;
    Str choice = s->choice;
    if (part_of_split(choice, &parts) > 1) { /* stands for the first */
        char *first = (char *)(uintptr_t)str_copy(a, choice).p;
        memcpy(first + choice.n - SPLIT_END, "-00001", 6);
        choice.p = first;
    }
    for (int64_t i = 0; i < l->n; i++)
        if (is_gguf(&l->file[i]) && str_eq(l->file[i].path, choice)) return &l->file[i];
    for (int64_t i = 0; i < l->n; i++)
        if (is_gguf(&l->file[i]) && str_eq(l->file[i].base, choice)) return &l->file[i];
    return gguf_of_type(l, choice, s, err);
}

/* What most machines run well, the best first. */
static const char *const liked[] = {"Q4_K_M", "Q4_K_S", "Q4_0", "Q5_K_M", "IQ4_XS", "Q4_1",
                                    "MXFP4",  "Q6_K",   "Q8_0", "BF16",   "F16",    "F32"};

static const RepoFile *gguf_liked(const Listing *l, const RepoSpec *s, Err *err) {
    const RepoFile *only = NULL;
    int64_t n = 0;
    for (int64_t i = 0; i < l->n; i++)
        if (is_gguf(&l->file[i]) && n++ == 0) only = &l->file[i];
    if (n == 1) return only;
    for (int64_t i = 0; i < COUNT(liked) && err->code == ERR_NONE; i++) {
        const RepoFile *f = gguf_of_type(l, str_of(liked[i]), s, err);
        if (f) return f;
    }
    return NULL;
}

/* ---- whole folders --------------------------------------------------------------------------- */

static bool beside_tensors(Str base) {
    static const char *const names[] = {"config.json",
                                        "generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "tokenizer.model",
                                        "tiktoken.model",
                                        "chat_template.jinja",
                                        "chat_template.json",
                                        "model.safetensors.index.json"};
    for (int64_t i = 0; i < COUNT(names); i++)
        if (str_eq(base, str_of(names[i]))) return true;
    return false;
}

static bool in_root(const RepoFile *f) { return f->path.n == f->base.n && name_usable(f->base); }

static const RepoFile *root_find(const Listing *l, const char *name) {
    for (int64_t i = 0; i < l->n; i++)
        if (in_root(&l->file[i]) && str_eq(l->file[i].base, str_of(name))) return &l->file[i];
    return NULL;
}

/* Of model.safetensors, its shards and other copies of the same numbers, one set. */
static bool is_tensors(const Listing *l, const RepoFile *f) {
    if (!str_ends(f->base, STR(".safetensors"))) return false;
    if (root_find(l, "model.safetensors")) return str_eq(f->base, STR("model.safetensors"));
    return !root_find(l, "model.safetensors.index.json") || str_starts(f->base, STR("model-"))
           || str_starts(f->base, STR("model."));
}

/* Nothing where the repository holds no such folder. */
static void folder_take(Choice *c, Arena *a, const Listing *l) {
    int64_t tensors = 0;
    const bool whole = root_find(l, "model.safetensors") != NULL;
    c->n = 0;
    c->file = PUSH(a, const RepoFile *, l->n + 1);
    for (int64_t i = 0; i < l->n; i++) {
        const RepoFile *f = &l->file[i];
        bool index = whole && str_ends(f->base, STR(".index.json"));
        if (!in_root(f) || index) continue;
        tensors += is_tensors(l, f);
        if (is_tensors(l, f) || beside_tensors(f->base)) c->file[c->n++] = f;
    }
    c->folder = tensors && root_find(l, "config.json");
    if (!c->folder) c->n = 0;
}

/* ---- choosing -------------------------------------------------------------------------------- */

bool listing_choose(Choice *c, Arena *a, const Listing *l, const RepoSpec *s, Err *err) {
    *c = (Choice){0};
    if (s->choice.n == 0) folder_take(c, a, l);
    if (c->folder) return true;
    const RepoFile *f = s->choice.n ? gguf_named(a, l, s, err) : gguf_liked(l, s, err);
    if (f) return gguf_take(c, a, l, f, err);
    Str there = ggufs_there(a, l);
    if (s->choice.n)
        return err_set(err, ERR_USAGE,
                       "%.*s has no GGUF file named %.*s and none of such a type%.*s",
                       STRF(s->repo), STRF(s->choice), STRF(there));
    return err_set(err, ERR_UNSUPPORTED,
                   "%.*s holds neither a folder of safetensors with a config.json nor a GGUF file "
                   "that could be chosen%.*s",
                   STRF(s->repo), STRF(there));
}
