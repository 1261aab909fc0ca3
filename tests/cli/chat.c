/* chat.c -- `lisao chat` as a person meets it, at a pseudo-terminal, with models whose answers are
 * known. TERM is "dumb" there and colours are off: what is shown is text. */
#define _GNU_SOURCE
#include "tests.h"
#include "support/need.h"
#include "support/table.h"
#include "support/terminal.h"

#include <unistd.h>

typedef struct Room {
    Arena *a;
    const char *folder, *program;
} Room;

static int room_open(void **state) {
    Room *r = calloc(1, sizeof *r);
    char folder[] = "/tmp/lisao-chat-XXXXXX";
    r->a = arena_open("room", (int64_t)1 << 30);
    r->folder = str_copy(r->a, str_of(mkdtemp(folder))).p;
    const char *bin = os_env("LISAO_BIN");
    r->program = bin ? bin : "build/lisao";
    setenv("XDG_CACHE_HOME", r->folder, 1);
    setenv("NO_COLOR", "1", 1);
    *state = r;
    return 0;
}

static int room_close(void **state) {
    Room *r = *state;
    Err err = {0};
    static const char *const folders[] = {"m", "lisao/models", "lisao", "."};
    for (int i = 0; i < COUNT(folders); i++)
        (void)!os_remove(str_fmt(r->a, "%s/%s", r->folder, folders[i]).p, &err);
    arena_close(r->a);
    free(r);
    return 0;
}

static bool thinks; /* the next model does */

/* The chat with one more option or two, until its first prompt. */
static int64_t chat_open(Room *r, Terminal *t, int columns, const int32_t *next, float sure,
                         const char *option, const char *value) {
    const char *model = str_fmt(r->a, "%s/m", r->folder).p;
    table_write(r->a, model, next, sure, thinks);
    thinks = false;
    char *const argv[] = {(char *)r->program, "chat",        (char *)model, "--threads", "1",
                          (char *)option,     (char *)value, NULL};
    terminal_open(t, r->a, columns, NULL, NULL, argv);
    return terminal_wait(t, 0, "> ");
}

static Str said_from(const Terminal *t, int64_t from) {
    return (Str){t->said.p + from, t->said.n - from};
}

static int64_t count(Str s, const char *what) {
    int64_t n = 0;
    for (const char *at = s.p; (at = strstr(at, what)); at++) n++;
    return n;
}

/* Leaves by Ctrl-D. */
static void leave(Terminal *t) {
    terminal_type(t, STR("\x04"));
    assert_int_equal(terminal_close(t), 0);
}

static void an_answer_and_the_next(void **state) {
    Terminal t;
    int32_t next[TABLE_V];
    table_say(next, "Hi!");
    int64_t at = chat_open(*state, &t, 80, next, 20, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        terminal_type(&t, STR("hello\r"));
        at = terminal_wait(&t, at, "Hi!\r\n[4 tokens");
        at = terminal_wait(&t, at, "> ");
    }
    terminal_type(&t, STR("/usr/bin/what is it?\r"));
    at = terminal_wait(&t, at, "Hi!");
    at = terminal_wait(&t, at, "> ");
    leave(&t);
}

/* Several lines that come at once are one message, with the terminal's marks and without. */
static void a_paste_is_one_message(void **state) {
    static const char *const pastes[] = {
        "Fix this:\rdef f(x):\r    return x+1\r",
        "\033[200~Fix this:\r\ndef f(x):\r\n    return x+1\r\n\033[201~\r", "Fix this:\\\r"};
    Terminal t;
    int32_t next[TABLE_V];
    table_say(next, "Hi!");
    int64_t at = chat_open(*state, &t, 80, next, 20, NULL, NULL), begin = at;
    for (int i = 0; i < 2; i++) {
        terminal_type(&t, str_of(pastes[i]));
        at = terminal_wait(&t, at, "Hi!");
        at = terminal_wait(&t, at, "> ");
    }
    assert_int_equal(count(said_from(&t, begin), "Hi!"), 2);
    /* a backslash, and Alt-Enter, go on in the next line */
    terminal_type(&t, str_of(pastes[2]));
    at = terminal_wait(&t, at, ". ");
    terminal_type(&t, STR("one\033\rtwo\r"));
    at = terminal_wait(&t, at, "Hi!");
    at = terminal_wait(&t, at, "> ");
    assert_int_equal(count(said_from(&t, begin), "Hi!"), 3);
    terminal_type(&t, STR("/save\r")); /* no file */
    at = terminal_wait(&t, at, "/save FILE");
    at = terminal_wait(&t, at, "> ");
    leave(&t);
}

/* Lines typed while the model is loaded are a message or a command each: they lie there before
 * the chat begins. */
static void typed_while_loading(void **state) {
    Room *r = *state;
    Terminal t;
    int32_t next[TABLE_V];
    table_say(next, "Hi!");
    const char *model = str_fmt(r->a, "%s/m", r->folder).p;
    table_write(r->a, model, next, 20, false);
    char *const argv[] = {
        "/bin/sh",          "-c",          "read go; exec \"$0\" chat \"$1\" --threads 1",
        (char *)r->program, (char *)model, NULL};
    terminal_open(&t, r->a, 80, NULL, NULL, argv);
    terminal_type(&t, STR("go\rhello there\rhow are you\r/stats\r"));
    int64_t at = terminal_wait(&t, 0, "Hi!");
    at = terminal_wait(&t, at, "Hi!");
    at = terminal_wait(&t, at, "last turn: ");
    at = terminal_wait(&t, at, "> ");
    leave(&t);
}

/* A terminal that has marked a paste marks all of them: other lines that come at once are keys. */
static void lines_beside_marked_pastes(void **state) {
    Terminal t;
    int32_t next[TABLE_V];
    table_say(next, "Hi!");
    int64_t at = chat_open(*state, &t, 80, next, 20, NULL, NULL);
    terminal_type(&t, STR("\033[200~one\rtwo\033[201~\rhow are you\r/stats\r"));
    for (int i = 0; i < 2; i++) at = terminal_wait(&t, at, "Hi!");
    at = terminal_wait(&t, at, "last turn: ");
    at = terminal_wait(&t, at, "> ");
    terminal_type(&t, STR("hello\rhello again\r/stats\r"));
    for (int i = 0; i < 2; i++) at = terminal_wait(&t, at, "Hi!");
    at = terminal_wait(&t, at, "last turn: ");
    at = terminal_wait(&t, at, "> ");
    leave(&t);
}

/* No byte of a long line is lost, typed or pasted, before the prompt or at it. */
static void long_lines_arrive_whole(void **state) {
    Room *r = *state;
    Terminal t;
    int32_t next[TABLE_V];
    Buf line = {.a = r->a};
    for (int i = 0; i < 6000; i++) buf_add(&line, STR("a"));
    buf_add(&line, STR("\r"));
    table_say(next, "Hi!");
    int64_t at = chat_open(r, &t, 80, next, 20, "--context", "5000");
    terminal_type(&t, buf_str(&line));
    /* 19: what the template adds */
    at = terminal_wait(&t, at, "the conversation has 6019 tokens and the context is 5000");
    at = terminal_wait(&t, at, "> ");
    leave(&t);
}

static void keys_edit_the_line(void **state) {
    Room *r = *state;
    Terminal t;
    Err err = {0};
    Str saved;
    int32_t next[TABLE_V];
    table_say(next, "Hi!");
    int64_t at = chat_open(r, &t, 80, next, 20, NULL, NULL);
    terminal_type(&t, STR("helo\033[D\033[Dl\r")); /* twice to the left */
    at = terminal_wait(&t, at, "Hi!");
    at = terminal_wait(&t, at, "> ");
    assert_null(strstr(t.said.p, "^[[D"));
    const char *file = str_fmt(r->a, "%s/saved.json", r->folder).p;
    terminal_type(&t, str_fmt(r->a, "/save %s\r", file));
    at = terminal_wait(&t, at, "2 messages are in");
    at = terminal_wait(&t, at, "> ");
    /* Its own file is written again; one that was there is not. */
    terminal_type(&t, str_fmt(r->a, "/save %s\r", file));
    at = terminal_wait(&t, at, "2 messages are in");
    at = terminal_wait(&t, at, "> ");
    const char *other = str_fmt(r->a, "%s/other", r->folder).p;
    assert_true(os_append(other, STR("a letter"), &err));
    terminal_type(&t, str_fmt(r->a, "/save %s\r", other));
    at = terminal_wait(&t, at, "there is such a file");
    at = terminal_wait(&t, at, "> ");
    assert_true(os_read(r->a, &saved, other, 1 << 20, &err) && str_eq(saved, STR("a letter")));
    assert_true(os_remove(other, &err));
    assert_true(os_read(r->a, &saved, file, 1 << 20, &err) && os_remove(file, &err));
    assert_non_null(strstr(saved.p, "\"content\": \"hello\""));
    leave(&t);
}

/* What is typed while an answer comes is there afterwards; Ctrl-C stops the answer and nothing
 * else. */
static void typing_ahead_and_stopping(void **state) {
    Terminal t;
    int32_t next[TABLE_V];
    table_say(next, "Hi!");
    int64_t at =
        chat_open(*state, &t, 80, next, 0, "--logit-bias", "258=-1000"); /* any bytes, for ever */
    terminal_type(&t, STR("/stats\r"));
    at = terminal_wait(&t, at, "> ");
    terminal_type(&t, STR("go\r"));
    at = terminal_wait(&t, at, "\n");
    at = terminal_wait(&t, at, "\n"); /* the first line of noise is over */
    terminal_type(&t, STR("/help"));
    usleep(100000);
    terminal_type(&t, STR("\r"));
    usleep(100000);
    terminal_type(&t, STR("\x03"));
    at = terminal_wait(&t, at, ", stopped]");
    at = terminal_wait(&t, at, "/regen"); /* the help that was asked for ahead */
    at = terminal_wait(&t, at, "> ");
    leave(&t);
}

/* Whatever bytes a model writes, the terminal gets text. */
static void noise_is_harmless(void **state) {
    Terminal t;
    int32_t next[TABLE_V];
    table_say(next, "Hi!");
    int64_t at = chat_open(*state, &t, 40, next, 0, "--temperature", "100");
    terminal_type(&t, STR("go\r"));
    int64_t begin = terminal_wait(&t, at, "\n");
    for (int i = 0; i < 3; i++) { /* until an end token comes by chance */
        at = terminal_wait(&t, begin, "tokens/s");
        for (int64_t k = begin; k < at; k++) {
            unsigned char c = (unsigned char)t.said.p[k];
            assert_true(c >= ' ' || c == '\r' || c == '\n');
            assert_int_not_equal(c, 0x7f);
        }
        at = terminal_wait(&t, at, "> ");
        terminal_type(&t, STR("/regen\r"));
        begin = terminal_wait(&t, at, "\n");
    }
    terminal_wait(&t, begin, "tokens/s");
    at = terminal_wait(&t, begin, "> ");
    leave(&t);
}

static void loops_are_stopped(void **state) {
    Terminal t;
    int32_t next[TABLE_V];
    table_say(next, "ab ");
    next[' '] = 'a';
    int64_t at = chat_open(*state, &t, 40, next, 20, NULL, NULL);
    terminal_type(&t, STR("go\r"));
    at = terminal_wait(&t, at, "because it");
    at = terminal_wait(&t, at, "> ");
    leave(&t);
}

/* A thought is shown apart and timed; folded, it is a line, until it is asked for. */
static void thoughts_are_apart(void **state) {
    Terminal t;
    int32_t next[TABLE_V];
    table_say(next, "Um.</think>YeS!");
    thinks = true;
    int64_t at = chat_open(*state, &t, 80, next, 20, NULL, NULL);
    terminal_type(&t, STR("go\r"));
    at = terminal_wait(&t, at, "(thinking)\r\nUm.\r\n(thought for ");
    at = terminal_wait(&t, at, " s)\r\n\r\nYeS!\r\n[16 tokens");
    at = terminal_wait(&t, at, "> ");
    terminal_type(&t, STR("/think hide\r"));
    int64_t folded = at = terminal_wait(&t, at, "folded away");
    at = terminal_wait(&t, at, "> ");
    terminal_type(&t, STR("go\r"));
    at = terminal_wait(&t, at, "(thought for ");
    at = terminal_wait(&t, at, " s)\r\n\r\nYeS!");
    assert_int_equal(count(said_from(&t, folded), "Um."), 0);
    at = terminal_wait(&t, at, "> ");
    terminal_type(&t, STR("/think\r"));
    at = terminal_wait(&t, at, "Um.");
    at = terminal_wait(&t, at, "> ");
    /* a budget cuts the thought; what this model says then is the same from the beginning */
    terminal_type(&t, STR("/think on\r"));
    at = terminal_wait(&t, at, "(thoughts are shown)");
    at = terminal_wait(&t, at, "> ");
    terminal_type(&t, STR("/budget 2\r"));
    at = terminal_wait(&t, at, "(thoughts end after 2 tokens)");
    at = terminal_wait(&t, at, "> ");
    terminal_type(&t, STR("go\r"));
    at = terminal_wait(&t, at, "(thinking)\r\nUm\r\n(thought for ");
    at = terminal_wait(&t, at, " s)\r\n\r\nUm.</think>YeS!\r\n[29 tokens");
    at = terminal_wait(&t, at, "> ");
    terminal_type(&t, STR("/budget off\r"));
    at = terminal_wait(&t, at, "(thoughts end where the model ends them)");
    at = terminal_wait(&t, at, "> ");
    leave(&t);
}

/* Commands; and the time to the first token of a late turn rests on the cache: all of the prompt
 * but the new message comes from it. */
static void turns_and_commands(void **state) {
    Room *r = *state;
    Terminal t;
    int32_t next[TABLE_V];
    long long prompt = 0, cached = 0;
    table_say(next, "Hi!");
    int64_t at = chat_open(r, &t, 200, next, 20, NULL, NULL);
    for (int i = 0; i < 10; i++) {
        terminal_type(&t,
                      STR("a message that is long enough to count when it is computed again\r"));
        at = terminal_wait(&t, at, "Hi!");
        at = terminal_wait(&t, at, "> ");
    }
    terminal_type(&t, STR("/stats\r"));
    at = terminal_wait(&t, at, "last turn: ");
    terminal_wait(&t, at, "from the cache");
    assert_int_equal(sscanf(t.said.p + at, "%lld tokens of prompt (%lld", &prompt, &cached), 2);
    if (!(prompt > 800 && prompt - cached < 130)) fail_msg("%lld of %lld", cached, prompt);
    at = terminal_wait(&t, at, "> ");
    static const char *const lines[][2] = {
        {"/undo\r", "18 messages are left"},
        {"/regen\r", "Hi!"},
        {"/system Be kind.\r", "(system message: Be kind.)"},
        {"/think off\r", "(no thoughts"},
        {"/think\r", "no thought to show"},
        {"/think about it\r", "Hi!"}, /* a message */
        {"/budget 5\r", "knows no thoughts"},
        {"/hepl\r", "there is no command /hepl; is /help meant?"},
        {"/budegt 5\r", "is /budget meant?"},
        {"/hepl me\r", "Hi!"}, /* messages */
        {"/home/me/x\r", "Hi!"},
        {"/load /absent\r", "absent"},
        {"/clear\r", "(a new conversation)"},
        {"/undo\r", "nothing to take back"},
        {"/regen\r", "no message to answer anew"},
    };
    for (int i = 0; i < COUNT(lines); i++) {
        terminal_type(&t, str_of(lines[i][0]));
        at = terminal_wait(&t, at, lines[i][1]);
        at = terminal_wait(&t, at, "> ");
    }
    terminal_type(&t, STR("/exit\r"));
    assert_int_equal(terminal_close(&t), 0);
}

/* A full context forgets the oldest turns and says so; or, where that was chosen, refuses, until
 * /undo or /full slide. */
static void a_full_context(void **state) {
    for (int stop = 0; stop < 2; stop++) {
        Room *r = *state;
        Terminal t;
        int32_t next[TABLE_V];
        table_say(next, "Hi!");
        int64_t at = chat_open(r, &t, 200, next, 20, "--context", "256");
        if (stop) {
            terminal_type(&t, STR("/full stop\r"));
            at = terminal_wait(&t, at, "> ");
        }
        for (int i = 0; i < 4; i++) {
            terminal_type(&t, STR("a message of some forty bytes or so, no more\r"));
            bool full = i == (stop ? 3 : 2);
            if (full && stop) at = terminal_wait(&t, at, "tokens and the context is 256: /undo");
            if (full && !stop) at = terminal_wait(&t, at, "no longer sees the first");
            if (!(full && stop)) at = terminal_wait(&t, at, "Hi!");
            at = terminal_wait(&t, at, "> ");
        }
        terminal_type(&t, STR("/full slide\r"));
        at = terminal_wait(&t, at, "> ");
        terminal_type(&t, STR("a message of some forty bytes or so, no more\r"));
        at = terminal_wait(&t, at, "Hi!");
        at = terminal_wait(&t, at, "> ");
        leave(&t);
    }
}

#define CHAT_TEST(fn) cmocka_unit_test_setup_teardown(fn, room_open, room_close)
int test_chat(void) {
    const struct CMUnitTest tests[] = {
        CHAT_TEST(an_answer_and_the_next),
        CHAT_TEST(a_paste_is_one_message),
        CHAT_TEST(typed_while_loading),
        CHAT_TEST(lines_beside_marked_pastes),
        CHAT_TEST(long_lines_arrive_whole),
        CHAT_TEST(keys_edit_the_line),
        CHAT_TEST(typing_ahead_and_stopping),
        CHAT_TEST(noise_is_harmless),
        CHAT_TEST(loops_are_stopped),
        CHAT_TEST(turns_and_commands),
        CHAT_TEST(a_full_context),
        CHAT_TEST(thoughts_are_apart),
    };
    return cmocka_run_group_tests_name("chat", tests, NULL, NULL);
}
