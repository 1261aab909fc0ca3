/* args.c -- tests of the option table: parsing, messages, help, man page. */
#include "tests.h"

static bool json;
static const char *act, *out_path;
static int64_t threads;
static double temperature;
static OptList sets;

static const Opt OPTS[] = {
    {OPT_FLAG, "json", NULL, &json, "Prints one JSON object.", 0, 0, NULL},
    {OPT_STR, "act", "f32|a16|a8", &act,
     "Format of activations; the default is what the file suggests, "
     "and this sentence goes on so that it needs more than one line of the terminal.",
     0, 0, NULL},
    {OPT_STR, "o", "FILE", &out_path, "Where the array goes.", 0, 0, NULL},
    {OPT_I64, "threads", "N", &threads, "Number of threads.", 1, 64, "t"},
    {OPT_F64, "temperature", "T", &temperature, "Sampling temperature.", 0, 10, NULL},
    {OPT_LIST, "set", "KEY=VALUE", &sets, "Changes a key of the recipe.", 0, 0, NULL},
};
static const Command COMMAND = {"run",
                                "MODEL [TEXT]",
                                "runs a model",
                                "Loads MODEL and answers TEXT.\n\nA second paragraph.",
                                "lisao run m.gguf --threads 2 \"Hello\"\n",
                                OPTS,
                                COUNT(OPTS)};

/* Parses the words of `line` (no quoting); operands come back joined by spaces. */
static bool parse(const char *line, char operands[256], Err *err) {
    static char words[1000];
    char *argv[40] = {"lisao"};
    int argc = 1;
    bool helped;
    json = false, act = NULL, out_path = NULL, threads = 2, temperature = 1, sets.n = 0;
    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " ")) argv[argc++] = w;
    *err = (Err){0};
    bool fine = opt_parse(&COMMAND, &argc, argv, &helped, err);
    operands[0] = 0;
    for (int i = 1; fine && i < argc; i++) {
        if (i > 1) strcat(operands, " ");
        strcat(operands, argv[i]);
    }
    return fine;
}

static void test_parse(void **state) {
    (void)state;
    char rest[256];
    Err err;
    assert_true(parse("m.gguf --json --act a8 -o x.npy --threads=3 --temperature 0.5 hello -1 -",
                      rest, &err));
    assert_string_equal(rest, "m.gguf hello -1 -");
    assert_true(json && threads == 3 && temperature == 0.5);
    assert_string_equal(act, "a8");
    assert_string_equal(out_path, "x.npy");
    assert_true(parse("--set a=1 --set=b=2 -- --json -o", rest, &err));
    assert_string_equal(rest, "--json -o");
    assert_true(!json && sets.n == 2);
    assert_string_equal(sets.v[1], "b=2");
    assert_true(parse("-o=--x --act=f32", rest, &err));
    assert_string_equal(out_path, "--x");
    assert_true(parse("--o y", rest, &err)); /* two dashes before one letter, too */
    assert_string_equal(out_path, "y");
    assert_true(parse("--threads 64 --temperature 10", rest, &err)); /* bounds belong to it */
    assert_true(parse("--threads 1 --temperature 0", rest, &err));
    assert_true(threads == 1 && temperature == 0);
    assert_true(parse("-t 5 m.gguf", rest, &err)); /* a short name beside the long one */
    assert_true(threads == 5);
    assert_true(parse("m.gguf -t=6", rest, &err));
    assert_true(threads == 6);
    assert_true(parse("", rest, &err));
    assert_true(rest[0] == 0 && threads == 2);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"--thread 3", "no option --thread; is --threads meant?"},
        {"--jsno", "is --json meant?"},
        {"--hepl", "is --help meant?"},
        {"--frobnicate", "run has no option --frobnicate"},
        {"-x", "no option -x"},
        {"-json", "is --json meant?"},
        {"--threads", "--threads needs a value: N"},
        {"--threads --json", "--threads needs a value: N"},
        {"--threads 0", "from 1 to 64, not '0'"},
        {"--threads 65", "from 1 to 64, not '65'"},
        {"--threads 2x", "a whole number"},
        {"--threads 1e1", "a whole number"},
        {"--threads 1 --threads 2", "--threads is given twice"},
        {"-t 1 --threads 2", "--threads is given twice"},
        {"-t 0", "--threads must be a whole number from 1 to 64"},
        {"-t", "--threads needs a value: N"},
        {"--t 3", "no option --t"},
        {"--json --json", "--json is given twice"},
        {"--json=yes", "--json takes no value"},
        {"--temperature nan", "a number from 0 to 10"},
        {"--temperature 11", "a number from 0 to 10"},
        {"--act f16", "one of f32|a16|a8, not 'f16'"},
        {"--act f32|a16", "one of f32|a16|a8"},
        {"--act=", "one of f32|a16|a8"},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        char rest[256];
        Err err;
        if (parse(cases[i].line, rest, &err)) fail_msg("accepted: %s", cases[i].line);
        assert_int_equal(err.code, ERR_USAGE);
        if (!strstr(err.msg, cases[i].says)) fail_msg("%s: %s", cases[i].line, err.msg);
    }
}

static void test_list_limit(void **state) {
    (void)state;
    char *argv[200] = {"lisao"};
    int argc = 1;
    bool helped;
    Err err = {0};
    sets.n = 0;
    for (int i = 0; i < 65; i++) argv[argc++] = "--set=a=b";
    assert_false(opt_parse(&COMMAND, &argc, argv, &helped, &err));
    assert_non_null(strstr(err.msg, "64 times"));
}

static void test_help(void **state) {
    (void)state;
    Arena *a = arena_open("help", 1 << 16);
    Buf b = {.a = a};
    threads = 2, temperature = 0.75, act = NULL, out_path = "out.npy";
    opt_help(&COMMAND, &b);
    static const char *const wanted[] = {"Usage: lisao run [options] MODEL [TEXT]\n",
                                         "\n  --json ",
                                         "\n  -o FILE ",
                                         "\n  -t, --threads N ",
                                         "--act f32|a16|a8 ",
                                         "Number of threads. (1 to 64; default 2)\n",
                                         "(0 to 10; default 0.75)",
                                         "(default out.npy)",
                                         "(may be repeated)",
                                         "\n\nA second paragraph.\n",
                                         "Examples:\nlisao run m.gguf"};
    for (int64_t i = 0; i < COUNT(wanted); i++)
        if (!strstr(b.p, wanted[i])) fail_msg("no \"%s\" in:\n%s", wanted[i], b.p);
    for (const char *line = b.p; *line;) {
        int64_t n = (int64_t)strcspn(line, "\n");
        if (n >= 80 || (n && line[n - 1] == ' ')) fail_msg("bad line: %.*s", (int)n, line);
        line += n + (line[n] == '\n');
    }
    arena_close(a);
}

static void print_help(void *arg) {
    (void)arg;
    char *argv[] = {"lisao", "--threads", "7", "--help", NULL};
    int argc = 4;
    bool helped;
    Err err = {0};
    threads = 2;
    fclose(stdout);
    stdout = fdopen(2, "w");
    bool fine = opt_parse(&COMMAND, &argc, argv, &helped, &err);
    fflush(stdout);
    if (!fine || !helped) abort();
}

/* --help is found behind other options, and shows the true default. */
static void test_help_printed(void **state) {
    (void)state;
    char said[8192];
    assert_int_equal(child(print_help, NULL, said, sizeof said), 0);
    assert_non_null(strstr(said, "(1 to 64; default 2)"));
}

static void test_man(void **state) {
    (void)state;
    Arena *a = arena_open("man", 1 << 16);
    Buf b = {.a = a};
    opt_man(&COMMAND, &b);
    static const char *const wanted[] = {".SS lisao run MODEL [TEXT]\n",
                                         ".TP\n\\fB\\-\\-json\\fR\n", "\\fB\\-o\\fR \\fIFILE\\fR\n",
                                         ".TP\n\\fB\\-t\\fR, \\fB\\-\\-threads\\fR \\fIN\\fR\n",
                                         ".EX\nlisao run m.gguf \\-\\-threads"};
    for (int64_t i = 0; i < COUNT(wanted); i++)
        if (!strstr(b.p, wanted[i])) fail_msg("no \"%s\" in:\n%s", wanted[i], b.p);
    arena_close(a);
}

int test_args(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_list_limit),   cmocka_unit_test(test_help),
        cmocka_unit_test(test_help_printed), cmocka_unit_test(test_man),
    };
    return cmocka_run_group_tests_name("args", tests, NULL, NULL);
}
