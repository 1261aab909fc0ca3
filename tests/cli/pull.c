/* pull.c -- `lisao pull` and hf:REPO as a user meets them, beside a hub of their own. */
#define _GNU_SOURCE
#include "tests.h"
#include "support/httpd.h"
#include "support/table.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Room {
    Arena *a;
    const char *folder, *program;
    Httpd *h;
    Str out, err; /* of the last command */
} Room;

static Str bytes_of(Room *r, const char *path) {
    Err err = {0};
    Str s;
    if (!os_read(r->a, &s, path, 1 << 26, &err)) fail_msg("%s", err.msg);
    return s;
}

/* A shell command in the room, with `lisao` on its path; returns its exit code. */
static int runs(Room *r, const char *command) {
    const char *line =
        str_fmt(r->a,
                "cd %s && export PATH=$PWD/bin:$PATH XDG_CACHE_HOME=$PWD HF_ENDPOINT=%s "
                "HF_TOKEN= NO_COLOR=1 && { %s; } >out 2>err </dev/null",
                r->folder, httpd_url(r->h), command)
            .p;
    int status = system(line);
    r->out = bytes_of(r, str_fmt(r->a, "%s/out", r->folder).p);
    r->err = bytes_of(r, str_fmt(r->a, "%s/err", r->folder).p);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(Room *r, int code, const char *command, const char *out, const char *err) {
    int got = runs(r, command);
    if (got != code || !strstr(r->out.p, out) || !strstr(r->err.p, err))
        fail_msg("%s: %d\n%s\n%s", command, got, r->out.p, r->err.p);
}

/* A model whose every answer is "Hi!", as a folder and as a GGUF file of the hub. */
static void hub_put(Room *r) {
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json"};
    HubFile file[COUNT(names)], gguf = {.path = "Qwen3-0.6B-Q8_0.gguf"};
    const char *folder = str_fmt(r->a, "%s/source", r->folder).p;
    int32_t next[TABLE_V];
    table_say(next, "Hi!");
    table_write(r->a, folder, next, 20, false);
    for (int64_t i = 0; i < COUNT(names); i++) {
        const char *path = str_fmt(r->a, "%s/%s", folder, names[i]).p;
        file[i] = (HubFile){names[i], bytes_of(r, path), i != 1};
    }
    httpd_hub(r->h, r->a, "Qwen/Qwen3-0.6B", file, COUNT(names));
    expect(r, 0, "lisao convert source source.gguf", "", "wrote source.gguf");
    gguf.bytes = bytes_of(r, str_fmt(r->a, "%s/source.gguf", r->folder).p);
    httpd_hub(r->h, r->a, "Qwen/Qwen3-0.6B-GGUF", &gguf, 1);
}

static int room_open(void **state) {
    Room *r = calloc(1, sizeof *r);
    char folder[] = "/tmp/lisao-pull-XXXXXX", here[4096];
    Err err = {0};
    r->a = arena_open("room", ARENA_NO_LIMIT);
    r->folder = str_copy(r->a, str_of(mkdtemp(folder))).p;
    const char *bin = os_env("LISAO_BIN");
    if (!getcwd(here, sizeof here)) return 1;
    r->program = bin ? bin : str_fmt(r->a, "%s/build/lisao", here).p;
    const char *link = str_fmt(r->a, "%s/bin", r->folder).p;
    if (!os_mkdir(link, &err) || symlink(r->program, str_fmt(r->a, "%s/lisao", link).p)) return 1;
    r->h = httpd_open();
    hub_put(r);
    *state = r;
    return 0;
}

static int room_close(void **state) {
    Room *r = *state;
    httpd_close(r->h);
    int bad = system(str_fmt(r->a, "rm -rf %s", r->folder).p);
    arena_close(r->a);
    free(r);
    return bad;
}

/* ---- tests ----------------------------------------------------------------------------------- */

#define GGUF "Qwen/Qwen3-0.6B-GGUF"

static void pulled(void **state) {
    Room *r = *state;
    expect(r, 0, "lisao pull " GGUF ":q8_0", "/lisao/models/Qwen3-0.6B-Q8_0.gguf\n",
           "fetched Qwen3-0.6B-Q8_0.gguf");
    assert_null(strstr(r->err.p, "does not run"));
    expect(r, 0, "lisao pull hf:" GGUF ":q8_0 --json", "\"received\": 0", "there already");
    expect(r, 0, "lisao list", "Qwen3-0.6B-Q8_0.gguf", "");
    expect(r, 0, "lisao run qwen3-0.6b-q8_0 hello", "Hi!\n", "");
    expect(r, 0, "lisao pull Qwen/Qwen3-0.6B --json", "\"name\": \"Qwen3-0.6B\"", "");
    expect(r, 0, "lisao run Qwen3-0.6B hello", "Hi!\n", "");
    expect(r, 0, "lisao rm --yes Qwen3-0.6B-Q8_0 && lisao rm --yes Qwen3-0.6B", "", "removed");
    expect(r, 0, "lisao list", "", "no model in");
}

static void run_by_hub(void **state) {
    Room *r = *state;
    expect(r, 0, "lisao run hf:" GGUF ":Q8_0 hello", "Hi!\n", "");
    int64_t asked = httpd_requests(r->h);
    expect(r, 0, "lisao run hf:" GGUF ":Q8_0 hello", "Hi!\n", "");
    expect(r, 0, "lisao tokenize hf:" GGUF ":Q8_0 --text hi", "104", "");
    expect(r, 0, "echo hello | lisao chat hf:" GGUF ":Q8_0", "Hi!\n", "");
    assert_int_equal(httpd_requests(r->h), asked); /* it is in the cache */
    expect(r, 0, "echo hello | lisao chat", "Hi!\n", "");
    expect(r, 0, "lisao info hf:Qwen/Qwen3-0.6B", "lisao/models/Qwen3-0.6B\n", "");
}

static void wrong(void **state) {
    Room *r = *state;
    expect(r, 1, "lisao pull no/such", "", "lisao pull: fetching no/such: ");
    expect(r, 1, "lisao run hf:no/such hello", "", "lisao run: fetching no/such: ");
    expect(r, 2, "lisao pull Qwen", "", "names no repository");
    expect(r, 2, "lisao pull " GGUF ":Q2_K", "", "there are: Qwen3-0.6B-Q8_0.gguf");
    expect(r, 2, "lisao pull", "", "expected one REPO");
    expect(r, 1, "lisao run Qwen/Qwen3-0.6B hello", "", "fetched as hf:OWNER/NAME");
    httpd_serve(r->h, (Served){.path = "/x/y/z/text.gguf", .body = STR("no model")});
    expect(r, 0, str_fmt(r->a, "lisao pull %s/x/y/z/text.gguf", httpd_url(r->h)).p, "text.gguf",
           "it does not run here: ");
    assert_non_null(strstr(r->err.p, "gave no SHA-256"));
}

/* Ctrl-C: exit code 130, and the same command goes on. */
static void interrupted(void **state) {
    Room *r = *state;
    const char *path = "/" GGUF "/resolve/main/Qwen3-0.6B-Q8_0.gguf";
    Str all = bytes_of(r, str_fmt(r->a, "%s/source.gguf", r->folder).p);
    httpd_serve(r->h,
                (Served){.path = path, .body = all, .cut_at = 5000, .faults = 1, .stall = true});
    pid_t pid = fork();
    if (pid == 0) {
        setenv("XDG_CACHE_HOME", r->folder, 1), setenv("HF_ENDPOINT", httpd_url(r->h), 1);
        if (!freopen(str_fmt(r->a, "%s/err", r->folder).p, "w", stderr)) _exit(9);
        execl(r->program, "lisao", "pull", GGUF ":Q8_0", (char *)NULL);
        _exit(9);
    }
    for (int i = 0; i < 4000 && httpd_asked(r->h, path).n == 0; i++) usleep(5000);
    usleep(100000); /* the bytes are on their way; how many arrive does not matter */
    kill(pid, SIGINT);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 130);
    assert_non_null(strstr(bytes_of(r, str_fmt(r->a, "%s/err", r->folder).p).p, "interrupted"));
    expect(r, 0, "lisao list", "", "no model in");
    expect(r, 0, "lisao pull " GGUF ":Q8_0", "Qwen3-0.6B-Q8_0.gguf", "fetched");
    expect(r, 0, "lisao run Qwen3-0.6B-Q8_0 hello", "Hi!\n", "");
}

/* Every example of the help, as it is written. */
static void examples(void **state) {
    Room *r = *state;
    expect(r, 0, "lisao pull --help", "Examples", "");
    char *line = strstr((char *)(uintptr_t)r->out.p, "Examples"), *rest = line;
    int64_t n = 0;
    while ((line = strtok_r(NULL, "\n", &rest))) {
        line += strspn(line, " ");
        if (strncmp(line, "lisao ", 6) != 0) continue;
        expect(r, 0, line, "", "");
        n++;
    }
    assert_true(n >= 3);
}

int test_pull(void) {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, room_open, room_close)
    const struct CMUnitTest tests[] = {TEST(pulled), TEST(run_by_hub), TEST(wrong),
                                       TEST(interrupted), TEST(examples)};
    return cmocka_run_group_tests_name("pull", tests, NULL, NULL);
}
