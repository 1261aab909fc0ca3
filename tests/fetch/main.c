/* main.c -- models from a loopback server that cuts lines, redirects, lies and refuses. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fetch/fetch.h"
#include "fetch/http.h"
#include "fetch/repo.h"
#include "support/httpd.h"
#include "support/must.h"
#include "support/need.h"

#define REPO      "some/model-GGUF"
#define FILE_NAME "model-Q8_0.gguf"

typedef struct Place {
    Arena *a;
    Httpd *h;
    char folder[64];
    FetchSpec spec;
    Str bytes; /* of the file that most tests fetch */
} Place;

static Str noise(Arena *a, int64_t n, uint64_t seed) {
    uint32_t *p = PUSH(a, uint32_t, n / 4 + 1);
    for (int64_t i = 0; i <= n / 4; i++) p[i] = philox(seed, (uint64_t)i, 0).w[0];
    return (Str){(const char *)p, n};
}

static int place_open(void **state) {
    Place *p = calloc(1, sizeof *p);
    p->a = arena_open("test", ARENA_NO_LIMIT);
    p->h = httpd_open();
    snprintf(p->folder, sizeof p->folder, "%s/lisao-fetch-XXXXXX", P_tmpdir);
    if (!mkdtemp(p->folder)) return 1;
    p->spec = (FetchSpec){.source = REPO ":q8_0",
                          .folder = str_fmt(p->a, "%s/models", p->folder).p,
                          .endpoint = httpd_url(p->h)};
    p->bytes = noise(p->a, 3 << 20, 1);
    *state = p;
    return 0;
}

static int place_close(void **state) {
    Place *p = *state;
    httpd_close(p->h);
    tree_remove(p->a, p->folder);
    arena_close(p->a);
    free(p);
    return 0;
}

static void hub_put(Place *p) {
    const HubFile files[] = {{"README.md", STR("read me"), true},
                             {FILE_NAME, p->bytes, false},
                             {"model-Q4_K_M.gguf", STR("four bits"), false},
                             {"mmproj-Q8_0.gguf", STR("a projector"), false}};
    httpd_hub(p->h, p->a, REPO, files, COUNT(files));
}

static const char *in_models(Place *p, const char *name) {
    return str_fmt(p->a, "%s/%s", p->spec.folder, name).p;
}

static void holds(Place *p, const char *name, Str want) {
    Err err = {0};
    Str s;
    must(os_read(p->a, &s, in_models(p, name), 1 << 24, &err), &err);
    if (!str_eq(s, want)) fail_msg("%s has %lld bytes, or other ones", name, (long long)s.n);
}

static Fetched fetches(Place *p) {
    Err err = {0};
    Fetched f = {0};
    must(fetch_model(&f, p->a, &p->spec, &err), &err);
    return f;
}

static Err refused(Place *p, ErrCode code, const char *says) {
    Err err = {0};
    Fetched f;
    if (fetch_model(&f, p->a, &p->spec, &err)) fail_msg("fetched %s", f.path);
    if (err.code != code || !strstr(err.msg, says)) fail_msg("%d, %s", err.code, err.msg);
    return err;
}

/* Of the models' folder, without what begins with a dot. */
static int64_t shown(Place *p) {
    Err err = {0};
    Str *name;
    int64_t n, k = 0;
    if (!os_exists(p->spec.folder)) return 0;
    must(os_list(p->a, &name, &n, p->spec.folder, &err), &err);
    for (int64_t i = 0; i < n; i++) k += name[i].p[0] != '.';
    return k;
}

static const char *served_path(Place *p) { return httpd_file(p->a, REPO, FILE_NAME); }

/* ---- whole files ----------------------------------------------------------------------------- */

static void one_file(void **state) {
    Place *p = *state;
    hub_put(p);
    Fetched f = fetches(p);
    assert_string_equal(f.name, FILE_NAME);
    assert_string_equal(f.path, in_models(p, FILE_NAME));
    assert_true(f.files == 1 && f.bytes == p->bytes.n && f.received == p->bytes.n && f.checked);
    assert_string_equal(f.sha256, sha256_text(p->a, p->bytes));
    holds(p, FILE_NAME, p->bytes);
    f = fetches(p); /* again: only the list is asked for */
    assert_true(f.received == 0 && f.bytes == p->bytes.n);
    assert_int_equal(httpd_asked(p->h, served_path(p)).n, 1);
    int64_t before = httpd_requests(p->h);
    p->spec.cached = true;
    p->spec.source = "hf:" REPO ":q8_0";
    f = fetches(p);
    assert_string_equal(f.path, in_models(p, FILE_NAME));
    assert_int_equal(httpd_requests(p->h), before);
    Err err = {0};
    must(os_remove(in_models(p, FILE_NAME), &err), &err); /* then the record says nothing */
    assert_true(fetches(p).received == p->bytes.n);
    assert_int_equal(shown(p), 1);
}

static void choices(void **state) {
    static const struct {
        const char *choice, *name;
    } cases[] = {{"", "model-Q4_K_M.gguf"},
                 {":Q4_K_M", "model-Q4_K_M.gguf"},
                 {":model-Q8_0.gguf", FILE_NAME},
                 {"@main:q8_0", FILE_NAME}};
    Place *p = *state;
    hub_put(p);
    for (int64_t i = 0; i < COUNT(cases); i++) {
        p->spec.source = str_fmt(p->a, "%s%s", REPO, cases[i].choice).p;
        assert_string_equal(fetches(p).name, cases[i].name);
    }
    p->spec.source = str_fmt(p->a, "%s/%s/blob/main/%s", httpd_url(p->h), REPO, FILE_NAME).p;
    assert_string_equal(fetches(p).name, FILE_NAME); /* as copied from a browser */
    assert_int_equal(shown(p), 2);
    p->spec.source = REPO ":Q2_K";
    refused(p, ERR_USAGE, "there are: model-Q8_0.gguf, model-Q4_K_M.gguf");
    p->spec.source = "model";
    refused(p, ERR_USAGE, "names no repository");
    p->spec.source = "../x";
    refused(p, ERR_USAGE, "names no repository");
}

static void split(void **state) {
    Place *p = *state;
    Str part[3];
    HubFile files[3];
    for (int64_t i = 0; i < 3; i++) {
        part[i] = noise(p->a, 1000 + i, (uint64_t)i);
        files[i] =
            (HubFile){str_fmt(p->a, "Q8_0/big-Q8_0-%05lld-of-00003.gguf", (long long)i + 1).p,
                      part[i], false};
    }
    httpd_hub(p->h, p->a, REPO, files, 3);
    Fetched f = fetches(p);
    assert_string_equal(f.name, "big-Q8_0-00001-of-00003.gguf");
    assert_true(f.files == 3 && f.bytes == 3003);
    for (int64_t i = 0; i < 3; i++)
        holds(p, str_fmt(p->a, "big-Q8_0-%05lld-of-00003.gguf", (long long)i + 1).p, part[i]);
    httpd_hub(p->h, p->a, "some/cut", files, 2);
    p->spec.source = "some/cut:Q8_0";
    refused(p, ERR_FORMAT, "number 3 is not there");
    /* The same by the address of any part. */
    p->spec.source =
        str_fmt(p->a, "%s/elsewhere/b-00002-of-00003.gguf?download=true", httpd_url(p->h)).p;
    for (int64_t i = 0; i < 3; i++)
        httpd_serve(
            p->h, (Served){.path = str_fmt(p->a, "/elsewhere/b-%05lld-of-00003.gguf?download=true",
                                           (long long)i + 1)
                                       .p,
                           .body = part[i]});
    f = fetches(p);
    assert_true(f.files == 3 && !f.checked);
    holds(p, "b-00003-of-00003.gguf", part[2]);
}

static void folder(void **state) {
    Place *p = *state;
    Str one = noise(p->a, 5000, 3), two = noise(p->a, 4000, 4);
    HubFile files[] = {{"config.json", STR("{}"), true},
                       {"tokenizer.json", STR("{\"a\": 1}"), true},
                       {"model-00001-of-00002.safetensors", one, false},
                       {"model-00002-of-00002.safetensors", two, false},
                       {"model.safetensors.index.json", STR("{\"b\": 2}"), true},
                       {"consolidated.safetensors", one, false},
                       {"original/config.json", STR("{\"no\": 1}"), true},
                       {"pytorch_model.bin", one, false},
                       {"empty-tokens.txt", STR(""), true}};
    httpd_hub(p->h, p->a, "some/Folder", files, COUNT(files));
    p->spec.source = "some/Folder";
    Fetched f = fetches(p);
    assert_string_equal(f.name, "Folder");
    assert_int_equal(f.files, 5);
    holds(p, "Folder/config.json", STR("{}"));
    holds(p, "Folder/model-00002-of-00002.safetensors", two);
    assert_int_equal(shown(p), 1);
    /* A new version takes the place of the old one. */
    files[0].bytes = STR("{\"new\": 1}");
    httpd_hub(p->h, p->a, "some/Folder", files, COUNT(files));
    p->spec.cached = true;
    assert_int_equal(fetches(p).received, 0);
    p->spec.cached = false;
    fetches(p);
    holds(p, "Folder/config.json", STR("{\"new\": 1}"));
    assert_int_equal(shown(p), 1);
    httpd_hub(p->h, p->a, "some/Bin", files + 7, 1);
    p->spec.source = "some/Bin";
    refused(p, ERR_UNSUPPORTED, "neither a folder of safetensors");
}

/* Another model with the name stays; the same one is taken as it is. */
static void names_taken(void **state) {
    Place *p = *state;
    Err err = {0};
    hub_put(p);
    must(os_mkdir(p->spec.folder, &err), &err);
    must(os_append(in_models(p, FILE_NAME), STR("another"), &err), &err);
    Fetched f = fetches(p);
    assert_string_equal(f.name, "some--" FILE_NAME);
    holds(p, FILE_NAME, STR("another"));
    holds(p, "some--" FILE_NAME, p->bytes);
    must(os_rename(in_models(p, "some--" FILE_NAME), in_models(p, FILE_NAME), &err), &err);
    f = fetches(p);
    assert_string_equal(f.name, FILE_NAME);
    assert_int_equal(f.received, 0);
    /* What a user puts in the place of a fetched file is the user's. */
    must(os_remove(in_models(p, FILE_NAME), &err), &err);
    must(os_append(in_models(p, FILE_NAME), STR("mine"), &err), &err);
    assert_string_equal(fetches(p).name, "some--" FILE_NAME);
    holds(p, FILE_NAME, STR("mine"));
}

/* ---- cut lines ------------------------------------------------------------------------------- */

/* Inside one call: each try brings some bytes, and the next goes on behind them. */
static void cut_and_resumed(void **state) {
    Place *p = *state;
    hub_put(p);
    httpd_serve(p->h, (Served){.path = served_path(p), .body = p->bytes, .cut_at = 1 << 20});
    Fetched f = fetches(p);
    assert_int_equal(f.received, p->bytes.n);
    Asked a = httpd_asked(p->h, served_path(p));
    assert_int_equal(a.n, 3);
    assert_string_equal(a.range, "bytes=2097152-");
    holds(p, FILE_NAME, p->bytes);
}

/* What an unfinished file is kept as, somewhere under .pull; NULL: nowhere. */
static const char *part_find(Place *p, const char *folder) {
    Err err = {0};
    Str *name;
    int64_t n = 0;
    if (!os_is_dir(folder) || !os_list(p->a, &name, &n, folder, &err)) return NULL;
    for (int64_t i = 0; i < n; i++) {
        const char *path = str_fmt(p->a, "%s/%.*s", folder, STRF(name[i])).p;
        if (str_ends(name[i], STR(".part"))) return path;
        const char *inner = part_find(p, path);
        if (inner) return inner;
    }
    return NULL;
}

static int64_t part_bytes(Place *p) {
    Err err = {0};
    FileStamp s;
    const char *path = part_find(p, in_models(p, ".pull"));
    return path && os_stamp(&s, path, &err) ? s.size : 0;
}

/* In a process of its own, which ends with the exit code of the program. */
static pid_t fetch_apart(Place *p) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) return pid;
    Err err = {0};
    Fetched f;
    os_catch_interrupt();
    bool ok = fetch_model(&f, p->a, &p->spec, &err);
    if (!ok && !strstr(err.msg, "are kept: the same command goes on")) _exit(99);
    _exit(ok ? 0 : err_exit_code(&err));
}

static int ended(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The server falls silent in the middle, the user stops it; returns what is kept. */
static int64_t fetch_interrupted(Place *p, const char *path, const char *etag) {
    Served s = {.path = path, .body = p->bytes, .etag = etag};
    s.cut_at = 2000000, s.faults = 1, s.stall = true;
    httpd_serve(p->h, s);
    pid_t pid = fetch_apart(p);
    for (int i = 0; i < 2000 && part_bytes(p) < 1 << 20; i++) usleep(5000);
    kill(pid, SIGINT);
    assert_int_equal(ended(pid), 130);
    int64_t kept = part_bytes(p);
    assert_true(kept >= 1 << 20 && kept <= 2000000);
    return kept;
}

/* Over two calls: an interrupt keeps what has come, and the next call asks for the rest only. */
static void interrupted(void **state) {
    Place *p = *state;
    hub_put(p);
    int64_t kept = fetch_interrupted(p, served_path(p), NULL);
    assert_int_equal(shown(p), 0);
    Fetched f = fetches(p);
    assert_int_equal(f.kept, kept);
    assert_int_equal(f.received, p->bytes.n - kept);
    assert_string_equal(httpd_asked(p->h, served_path(p)).range,
                        str_fmt(p->a, "bytes=%lld-", (long long)kept).p);
    holds(p, FILE_NAME, p->bytes);
    assert_int_equal(part_bytes(p), 0);
}

/* What is left of it is listed, with what is there of it, until it is whole. */
static void unfinished(void **state) {
    Place *p = *state;
    Unfinished *u;
    int64_t n = 9;
    Err err = {0};
    must(fetch_unfinished(&u, &n, p->a, p->spec.folder, &err), &err);
    assert_int_equal(n, 0); /* no folder yet */
    hub_put(p);
    int64_t kept = fetch_interrupted(p, served_path(p), NULL);
    must(fetch_unfinished(&u, &n, p->a, p->spec.folder, &err), &err);
    assert_int_equal(n, 1);
    assert_string_equal(u->source, REPO);
    assert_string_equal(u->file, FILE_NAME);
    assert_int_equal(u->bytes, kept);
    fetches(p);
    must(fetch_unfinished(&u, &n, p->a, p->spec.folder, &err), &err);
    assert_int_equal(n, 0);
}

/* A server without ranges sends all of it again. */
static void no_ranges(void **state) {
    Place *p = *state;
    hub_put(p);
    httpd_serve(p->h, (Served){.path = served_path(p),
                               .body = p->bytes,
                               .cut_at = 1000000,
                               .faults = 1,
                               .no_range = true});
    Fetched f = fetches(p);
    assert_int_equal(f.received, p->bytes.n + 1000000);
    holds(p, FILE_NAME, p->bytes);
}

/* One that moreover always breaks at the same place is given up. */
static void no_progress(void **state) {
    Place *p = *state;
    need_full(); /* six seconds of pauses */
    hub_put(p);
    httpd_serve(
        p->h,
        (Served){.path = served_path(p), .body = p->bytes, .cut_at = 1000000, .no_range = true});
    refused(p, ERR_IO, "1.0 of 3.1 MB of " FILE_NAME " are kept");
    assert_int_equal(httpd_asked(p->h, served_path(p)).n, 6);
}

/* Without a hash it is the ETag that tells whether the rest belongs to what is there. */
static void etags(void **state) {
    static const struct {
        const char *etag, *later;
        bool same;
    } cases[] = {{"\"one\"", "\"one\"", true},
                 {"\"one\"", "\"two\"", false},
                 {"W/\"one\"", "W/\"one\"", false},
                 {NULL, NULL, false}};
    Place *p = *state;
    for (int64_t i = 0; i < COUNT(cases); i++) {
        const char *path = str_fmt(p->a, "/plain/%lld.gguf", (long long)i).p;
        p->spec.source = str_fmt(p->a, "%s%s", httpd_url(p->h), path).p;
        int64_t kept = fetch_interrupted(p, path, cases[i].etag);
        httpd_serve(p->h, (Served){.path = path, .body = p->bytes, .etag = cases[i].later});
        Fetched f = fetches(p);
        assert_int_equal(f.received, cases[i].same ? p->bytes.n - kept : p->bytes.n);
        assert_false(f.checked);
        assert_string_equal(f.sha256, sha256_text(p->a, p->bytes));
        holds(p, f.name, p->bytes);
    }
}

/* A busy server, asked for its list and for a file. */
static void tried_again(void **state) {
    Place *p = *state;
    const char *path = "/api/models/" REPO "/tree/main?recursive=true";
    Str list = str_fmt(p->a, "[{\"path\": \"%s\", \"size\": %lld, \"oid\": \"1\"}]", FILE_NAME,
                       (long long)p->bytes.n);
    hub_put(p);
    httpd_serve(p->h, (Served){.path = path, .body = list, .status = 429, .faults = 2});
    httpd_serve(p->h,
                (Served){.path = served_path(p), .body = p->bytes, .status = 503, .faults = 2});
    fetches(p);
    assert_int_equal(httpd_asked(p->h, path).n, 3);
    assert_int_equal(httpd_asked(p->h, served_path(p)).n, 3);
    holds(p, FILE_NAME, p->bytes);
}

/* Two at once: one waits, and finds it there. */
static void two_at_once(void **state) {
    Place *p = *state;
    hub_put(p);
    pid_t pid[3];
    for (int i = 0; i < 3; i++) pid[i] = fetch_apart(p);
    for (int i = 0; i < 3; i++) assert_int_equal(ended(pid[i]), 0);
    assert_int_equal(httpd_asked(p->h, served_path(p)).n, 1);
    holds(p, FILE_NAME, p->bytes);
}

/* Each write, fsync and rename fails once: an error, nothing under the name, and the next call is
 * well. */
static void faults(void **state) {
    Place *p = *state;
    int64_t failed = 0;
    p->bytes = noise(p->a, (1 << 20) + 5, 7);
    hub_put(p);
    for (int64_t n = 1; n < 100; n++) {
        Err err = {0};
        Fetched f;
        os_fail_after(n);
        bool ok = fetch_model(&f, p->a, &p->spec, &err);
        os_fail_after(0);
        if (os_exists(in_models(p, FILE_NAME))) holds(p, FILE_NAME, p->bytes);
        failed += !ok;
        if (!ok) assert_non_null(strstr(err.msg, "cannot "));
        if (ok) {
            holds(p, FILE_NAME, p->bytes);
            if (failed) break;
        }
        fetches(p);
        tree_remove(p->a, p->spec.folder);
    }
    assert_true(failed >= 8);
}

/* ---- servers that lie ------------------------------------------------------------------------ */

static void wrong_bytes(void **state) {
    Place *p = *state;
    hub_put(p);
    Str other = noise(p->a, p->bytes.n, 9);
    httpd_serve(p->h, (Served){.path = served_path(p), .body = other});
    Err err = refused(p, ERR_FORMAT, sha256_text(p->a, p->bytes));
    assert_non_null(strstr(err.msg, sha256_text(p->a, other)));
    assert_int_equal(part_bytes(p), 0); /* nobody goes on from there */
    httpd_serve(p->h, (Served){.path = served_path(p), .body = noise(p->a, 1000, 1)});
    refused(p, ERR_FORMAT, "has 1000 bytes, and 3145728 were expected");
    httpd_serve(p->h, (Served){.path = served_path(p),
                               .body = STR("<!DOCTYPE html><p>Log in</p>"),
                               .type = "text/html; charset=utf-8"});
    refused(p, ERR_FORMAT, "sends a web page");
    /* The last, for what arrived before the nine bytes is kept, and may be the whole file. */
    httpd_serve(p->h, (Served){.path = served_path(p),
                               .body = noise(p->a, p->bytes.n + 9, 1),
                               .no_length = true});
    refused(p, ERR_FORMAT, "sends more than the 3145728 bytes");
    assert_int_equal(shown(p), 0);
    hub_put(p);
    fetches(p);
}

static void refusals(void **state) {
    static const struct {
        int status;
        const char *token, *says;
    } cases[] = {
        {401, NULL,
         "Set HF_TOKEN to a token of your account; a gated one wants its licence accepted at http"},
        {403, "t",
         "the token in HF_TOKEN does not open it; a gated one wants its licence accepted at http"},
        {404, NULL, "answers 404, there is none"},
        {429, NULL, "too many requests"}, /* after some tries */
        {501, NULL, "a fault of the server"}};
    Place *p = *state;
    for (int64_t i = 0; i < COUNT(cases); i++) {
        hub_put(p);
        httpd_serve(p->h, (Served){.path = "/api/models/" REPO "/tree/main?recursive=true",
                                   .status = cases[i].status,
                                   .headers = "X-Error-Message: gated\x1b[31m it is\r\n"});
        p->spec.token = cases[i].token;
        Err err = refused(p, ERR_IO, cases[i].says);
        assert_non_null(strstr(err.msg, "The server says: gated?[31m it is"));
    }
    assert_int_equal(shown(p), 0);
    hub_put(p);
    httpd_serve(p->h, (Served){.path = served_path(p), .body = p->bytes, .token = "secret"});
    p->spec.token = NULL;
    refused(p, ERR_IO, "Set HF_TOKEN");
    p->spec.token = "secret";
    fetches(p);
}

/* The token is sent to the endpoint, and not to where it redirects. */
static void redirects(void **state) {
    Place *p = *state;
    Httpd *other = httpd_open();
    hub_put(p);
    p->spec.token = "secret";
    const char *to = str_fmt(p->a, "Location: %s/blob?signed=1\r\n", httpd_url(other)).p;
    httpd_serve(p->h,
                (Served){.path = served_path(p), .status = 302, .headers = "Location: /moved\r\n"});
    httpd_serve(p->h, (Served){.path = "/moved", .status = 307, .headers = to});
    httpd_serve(
        other,
        (Served){.path = "/blob?signed=1", .body = p->bytes, .cut_at = 1 << 20, .faults = 1});
    fetches(p);
    holds(p, FILE_NAME, p->bytes);
    assert_string_equal(httpd_asked(p->h, served_path(p)).authorization, "Bearer secret");
    assert_string_equal(httpd_asked(p->h, "/moved").authorization, "Bearer secret");
    assert_string_equal(httpd_asked(other, "/blob?signed=1").authorization, "");
    assert_string_equal(httpd_asked(other, "/blob?signed=1").range, "bytes=1048576-");
    httpd_close(other);
    tree_remove(p->a, p->spec.folder);
    static const struct {
        const char *location, *says;
    } bad[] = {{"Location: /again\r\n", "redirects more than 5 times"},
               {"Location: file:///etc/passwd\r\n", "no address that is followed"},
               {"Location: ftp://127.0.0.1/x\r\n", "no address that is followed"},
               {"Location: http://user:word@127.0.0.1/x\r\n", "no address that is followed"}};
    for (int64_t i = 0; i < COUNT(bad); i++) {
        httpd_serve(p->h,
                    (Served){.path = served_path(p), .status = 302, .headers = bad[i].location});
        httpd_serve(p->h, (Served){.path = "/again", .status = 302, .headers = bad[i].location});
        refused(p, ERR_FORMAT, bad[i].says);
    }
}

/* X-Linked-Etag of the first host is the hub's word on the bytes, also where it redirects. */
static void linked(void **state) {
    Place *p = *state;
    const char *tag =
        str_fmt(p->a, "X-Linked-Etag: \"%s\"\r\nX-Linked-Size: %lld\r\nLocation: /blob\r\n",
                sha256_text(p->a, p->bytes), (long long)p->bytes.n)
            .p;
    httpd_serve(p->h, (Served){.path = "/plain/x.gguf", .status = 302, .headers = tag});
    httpd_serve(p->h, (Served){.path = "/blob", .body = p->bytes});
    p->spec.source = str_fmt(p->a, "%s/plain/x.gguf", httpd_url(p->h)).p;
    assert_true(fetches(p).checked);
    tree_remove(p->a, p->spec.folder);
    httpd_serve(p->h, (Served){.path = "/blob", .body = noise(p->a, p->bytes.n, 9)});
    refused(p, ERR_FORMAT, "has SHA-256");
    httpd_serve(p->h, (Served){.path = "/plain/x.gguf", .body = p->bytes});
    p->spec.sha256 = sha256_text(p->a, p->bytes);
    assert_true(fetches(p).checked);
    p->spec.sha256 = sha256_text(p->a, STR("other"));
    tree_remove(p->a, p->spec.folder);
    refused(p, ERR_FORMAT, "was expected: it was thrown away");
    p->spec.sha256 = "abc";
    refused(p, ERR_USAGE, "64 digits");
    p->spec.sha256 = NULL;
    httpd_serve(p->h, (Served){.path = "/plain/x.gguf", .body = p->bytes, .no_length = true});
    refused(p, ERR_UNSUPPORTED, "does not say how long the file is");
    p->spec.source = str_fmt(p->a, "%s/a/b/c/x.zip", httpd_url(p->h)).p;
    refused(p, ERR_UNSUPPORTED, "not the address of a GGUF file");
    p->spec.source = "ftp://127.0.0.1/x.gguf";
    refused(p, ERR_USAGE, "no address that can be fetched from");
}

#define SIZED(path) "[{\"type\": \"file\", \"oid\": \"0\", \"size\": 4, \"path\": \"" path "\"}]"

/* Names and lists are data from outside. */
static void hostile_lists(void **state) {
    static const struct {
        const char *list, *says;
    } cases[] = {
        {SIZED("../../model-Q8_0.gguf"), "which is no name that a file gets here"},
        {SIZED("/etc/model-Q8_0.gguf"), "which is no name"},
        {SIZED("a/../../model-Q8_0.gguf"), "which is no name"},
        {SIZED("a\\\\..\\\\model-Q8_0.gguf"), "which is no name"},
        {SIZED("a\\u0000model-Q8_0.gguf"), "JSON array"},
        {SIZED("\\u001b[2Jmodel-Q8_0.gguf"), "named \"?[2Jmodel-Q8_0.gguf\""},
        {SIZED("\\u202emodel-Q8_0.gguf"), "which is no name"},
        {SIZED(".model-Q8_0.gguf"), "no GGUF file at all"},
        {SIZED(""), "which is no name"},
        {"[{\"path\": \"model-Q8_0.gguf\"}]", "no size"},
        {"[{\"path\": \"model-Q8_0.gguf\", \"size\": -1}]", "no size"},
        {"[{\"path\": \"model-Q8_0.gguf\", \"size\": 1e3}]", "no size"},
        {"[{\"path\": \"model-Q8_0.gguf\", \"size\": 4, \"lfs\": {\"oid\": \"../x\"}}]",
         "no SHA-256"},
        {"{\"error\": 1}", "no JSON array"},
        {"<html>", "no JSON array"},
        {"", "no JSON array"},
        {"[]", "no GGUF file at all"},
        {"[1, null, \"x\"]", "which is no name"},
    };
    Place *p = *state;
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Err err = {0};
        Fetched f;
        httpd_serve(p->h, (Served){.path = "/api/models/" REPO "/tree/main?recursive=true",
                                   .body = str_of(cases[i].list)});
        assert_false(fetch_model(&f, p->a, &p->spec, &err));
        if (!strstr(err.msg, cases[i].says)) fail_msg("%s: %s", cases[i].list, err.msg);
        assert_int_equal(shown(p), 0);
    }
    /* A list that never ends. */
    httpd_serve(p->h, (Served){.path = "/api/models/" REPO "/tree/main?recursive=true",
                               .body = STR("[]"),
                               .headers = "Link: </api/models/" REPO
                                          "/tree/main?recursive=true>; rel=\"next\"\r\n"});
    refused(p, ERR_LIMIT, "more than 100 pages");
    char *long_list = arena_push(p->a, 33 << 20);
    memset(long_list, ' ', 33 << 20);
    httpd_serve(p->h, (Served){.path = "/api/models/" REPO "/tree/main?recursive=true",
                               .body = {long_list, 33 << 20}});
    refused(p, ERR_LIMIT, "longer than 32 MB");
}

static void pages(void **state) {
    Place *p = *state;
    hub_put(p);
    httpd_serve(p->h, (Served){.path = "/api/models/" REPO "/tree/main?recursive=true",
                               .body = STR("[]"),
                               .headers = "Link: </page2>; rel=\"next\"\r\n"});
    httpd_serve(
        p->h, (Served){.path = "/page2",
                       .body = str_fmt(p->a, "[{\"path\": \"%s\", \"size\": %lld, \"oid\": \"1\"}]",
                                       FILE_NAME, (long long)p->bytes.n)});
    assert_string_equal(fetches(p).name, FILE_NAME);
}

/* ---- addresses ------------------------------------------------------------------------------- */

static void addresses(void **state) {
    Place *p = *state;
    Arena *a = p->a;
    Err err = {0};
    const char *url;
    assert_true(url_open(&url, a, "hub.example", "x", &err) && !url_plain(url));
    assert_true(url_open(&url, a, "localhost:80", "x", &err) && url_plain(url));
    assert_true(url_open(&url, a, "http://hub.example", "x", &err) && url_plain(url));
    static const char *const bad[] = {"file:///etc", "ftp://x", "https://", "https://u:p@x/", ""};
    for (int64_t i = 0; i < COUNT(bad); i++) {
        Err why = {0};
        if (url_open(&url, a, bad[i], "x", &why)) fail_msg("%s is %s", bad[i], url);
    }
    assert_true(url_local("http://127.0.0.1:9/") && url_local("http://[::1]/"));
    assert_false(url_local("http://127.evil.example/") || url_local("http://localhost.example/"));
    assert_true(url_same_host("https://x/a", "https://X:443/b"));
    assert_false(url_same_host("https://x/", "http://x/")
                 || url_same_host("https://x/", "https://x:1/"));
    assert_true(url_follow(&url, a, "https://x/a/b", STR("../c"), false, &err));
    assert_string_equal(url, "https://x/c");
    assert_false(url_follow(&url, a, "https://x/a", STR("http://x/c"), false, &err));
    assert_non_null(strstr(err.msg, "not encrypted"));
    assert_string_equal(url_shown(a, "https://x/a?key=1"), "https://x/a");
    assert_string_equal(url_encode(a, STR("a b/\xc3\xbc?"), true).p, "a%20b/%C3%BC%3F");
}

/* Nobody listens: said at once, and with what helps. */
static void unreachable(void **state) {
    Place *p = *state;
    Httpd *gone = httpd_open();
    p->spec.endpoint = str_copy(p->a, str_of(httpd_url(gone))).p;
    httpd_close(gone);
    refused(p, ERR_IO, "is there a network?");
    assert_int_equal(shown(p), 0);
}

/* A question arrives with its token and comes again where the server is busy or the line is cut;
 * what is refused is said, and a redirect is not followed with it. */
static void questions(void **state) {
    Place *p = *state;
    Post *post;
    Err err = {0};
    Str answer;
    const char *url = str_fmt(p->a, "%s/v1/ask", httpd_url(p->h)).p;
    httpd_serve(p->h, (Served){.path = "/v1/ask", .body = STR("{\"a\": 1}"), .token = "secret"});
    must(post_open(&post, p->a, url, "secret", &err), &err);
    for (int64_t i = 1; i <= 2; i++) {
        must(post_ask(post, p->a, STR("{\"q\": 2}"), &answer, &err), &err);
        assert_true(str_eq(answer, STR("{\"a\": 1}")));
        const Asked asked = httpd_asked(p->h, "/v1/ask");
        assert_int_equal(asked.n, i);
        assert_string_equal(asked.body, "{\"q\": 2}");
        assert_string_equal(asked.authorization, "Bearer secret");
    }
    static const Served busy = {.path = "/v1/ask",
                                .body = {"whole", 5},
                                .status = 503,
                                .faults = 2},
                        cut = {.path = "/v1/ask", .body = {"whole", 5}, .cut_at = 2, .faults = 1};
    const Served again[] = {busy, cut};
    for (int64_t i = 0; i < COUNT(again); i++) {
        httpd_serve(p->h, again[i]);
        must(post_ask(post, p->a, STR("{}"), &answer, &err), &err);
        assert_true(str_eq(answer, STR("whole")));
        assert_int_equal(httpd_asked(p->h, "/v1/ask").n, again[i].faults + 1);
    }
    static const struct {
        int status;
        const char *headers, *says;
    } no[] = {{401, NULL, "answers 401: it does not take the token"},
              {404, NULL, "answers 404: there is no model"},
              {400, NULL, "answers 400"},
              {307, "Location: /v1/other\r\n", "answers 307"}};
    httpd_serve(p->h, (Served){.path = "/v1/other", .body = STR("other")});
    for (int64_t i = 0; i < COUNT(no); i++) {
        Err why = {0};
        httpd_serve(p->h, (Served){.path = "/v1/ask",
                                   .body = STR("no"),
                                   .status = no[i].status,
                                   .headers = no[i].headers});
        assert_false(post_ask(post, p->a, STR("{}"), &answer, &why));
        if (!strstr(why.msg, no[i].says)) fail_msg("%s", why.msg);
    }
    assert_int_equal(httpd_asked(p->h, "/v1/other").n, 0);
    post_close(post);
}

/* ---- a search engine ------------------------------------------------------------------------- */

#define ASKED "/s/search?q=When%20%26%20%E4%BD%95%E6%97%B6%3F&format=json"
static const Str QUERY = {"When & 何时?", sizeof "When & 何时?" - 1};

static bool searches(WebSearch *w, Arena *a, Str *answer, Err *err) {
    *err = (Err){0};
    return websearch_ask(w, a, QUERY, answer, err);
}

static void search_fails(WebSearch *w, Place *p, Served s, const char *says) {
    Str answer;
    Err err;
    s.path = ASKED;
    httpd_serve(p->h, s);
    assert_false(searches(w, p->a, &answer, &err));
    assert_int_equal(err.code, ERR_IO);
    if (!strstr(err.msg, says)) fail_msg("%s", err.msg);
    if (strstr(err.msg, "When")) fail_msg("it names the question: %s", err.msg);
}

/* Its one address, within bounds; whatever it answers, the next question is asked. */
static void search_engine(void **state) {
    Place *p = *state;
    WebSearch *w;
    Str answer;
    Err err = {0};
    const Str most = noise(p->a, 1 << 20, 3), more = noise(p->a, (1 << 20) + 4, 3);
    must(websearch_open(&w, p->a, str_fmt(p->a, "%s/s/", httpd_url(p->h)).p, &err), &err);
    httpd_serve(p->h, (Served){.path = ASKED, .body = STR("{\"results\":[]}")});
    must(searches(w, p->a, &answer, &err), &err);
    assert_true(str_eq(answer, STR("{\"results\":[]}")));
    httpd_serve(p->h, (Served){.path = ASKED, .body = most});
    must(searches(w, p->a, &answer, &err), &err);
    assert_true(str_eq(answer, most));
    search_fails(w, p, (Served){.body = more}, "more than 1048576 bytes");
    search_fails(w, p, (Served){.body = more, .no_length = true}, "more than 1048576 bytes");
    search_fails(w, p, (Served){.body = most, .cut_at = 9}, "the connection broke");
    search_fails(w, p, (Served){.status = 403}, "answers 403 (does search.formats");
    search_fails(w, p, (Served){.status = 404}, "answers 404 (is it the address");
    search_fails(w, p, (Served){.status = 500, .body = more}, "answers 500");
    search_fails(w, p, (Served){.status = 204}, "answers 204");
    static const char *const elsewhere[] = {"Location: /s/other\r\n",
                                            "Location: http://169.254.169.254/latest\r\n",
                                            "Location: file:///etc/passwd\r\n"};
    httpd_serve(p->h, (Served){.path = "/s/other", .body = STR("other")});
    for (int64_t i = 0; i < COUNT(elsewhere); i++)
        search_fails(w, p, (Served){.status = 302, .headers = elsewhere[i]},
                     "answers 302, a redirect, which is not followed");
    assert_int_equal(httpd_asked(p->h, "/s/other").n, 0);
    httpd_serve(p->h, (Served){.path = ASKED, .body = STR("{}")});
    must(searches(w, p->a, &answer, &err), &err);
    websearch_close(w);
    websearch_close(NULL);
}

/* A slow one is not waited for longer than it may take. */
static void slow_search_engine(void **state) {
    Place *p = *state;
    WebSearch *w;
    Err err = {0};
    need_full();
    must(websearch_open(&w, p->a, str_fmt(p->a, "%s/s", httpd_url(p->h)).p, &err), &err);
    const double began = os_now();
    search_fails(w, p, (Served){.body = noise(p->a, 4096, 3), .cut_at = 9, .stall = true},
                 "the connection broke");
    assert_true(os_now() - began > 7 && os_now() - began < 60);
    websearch_close(w);
}

static void search_addresses(void **state) {
    static const struct {
        const char *address, *says;
    } wrong[] = {{"http://example.org", "by https alone"},
                 {"https://10.1.2.3/", "not in a private network"},
                 {"https://[fd00::1]:8080", "not in a private network"},
                 {"https://[::ffff:192.168.0.1]", "not in a private network"},
                 {"http://169.254.169.254", "not in a private network"},
                 {"https://0x0a000001", "not in a private network"},
                 {"https://example.org/?q=", "without ? and #"},
                 {"https://example.org/#x", "without ? and #"},
                 {"https://user@example.org", "no address that can be fetched from"},
                 {"file:///etc/passwd", "no address that can be fetched from"},
                 {"", "no address that can be fetched from"}};
    static const char *const right[] = {"https://example.org", "https://1.1.1.1/searx",
                                        "localhost:8888", "http://[::1]:8888", "https://127.0.0.1"};
    Place *p = *state;
    WebSearch *w;
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        Err err = {0};
        if (websearch_open(&w, p->a, wrong[i].address, &err)) fail_msg("%s", wrong[i].address);
        assert_int_equal(err.code, ERR_USAGE);
        if (!strstr(err.msg, wrong[i].says)) fail_msg("%s: %s", wrong[i].address, err.msg);
        websearch_close(w);
    }
    for (int64_t i = 0; i < COUNT(right); i++) {
        Err err = {0};
        must(websearch_open(&w, p->a, right[i], &err), &err);
        websearch_close(w);
    }
}

/* What the host's name leads to by now counts, and no redirect leads away from it. */
static void narrow_requests(void **state) {
    Place *p = *state;
    Http *http;
    HttpReply r;
    Err err = {0};
    must(http_open(&http, p->a, &err), &err);
    HttpRequest q = {.url = httpd_url(p->h), .reach = NET_PUBLIC};
    assert_int_equal(http_get(http, p->a, &r, &q, &err), HTTP_FAILED);
    if (!strstr(err.msg, "leads to an address that is not public")) fail_msg("%s", err.msg);
    assert_int_equal(httpd_requests(p->h), 0);
    http_close(http);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, place_open, place_close)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(one_file),
        TEST(choices),
        TEST(split),
        TEST(folder),
        TEST(names_taken),
        TEST(cut_and_resumed),
        TEST(interrupted),
        TEST(unfinished),
        TEST(no_ranges),
        TEST(no_progress),
        TEST(etags),
        TEST(tried_again),
        TEST(two_at_once),
        TEST(faults),
        TEST(wrong_bytes),
        TEST(refusals),
        TEST(redirects),
        TEST(linked),
        TEST(hostile_lists),
        TEST(pages),
        TEST(addresses),
        TEST(unreachable),
        TEST(questions),
        TEST(search_engine),
        TEST(slow_search_engine),
        TEST(search_addresses),
        TEST(narrow_requests),
    };
    return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
