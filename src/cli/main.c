/* main.c -- `lisao COMMAND ...`: finds the command. Each lives in its cmd_*.c with its option
 * table. */
#include "cli/cli.h"

#include <stdio.h>

#include "gen/commit.h"

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", "answer a prompt, or many from lines of JSON", cmd_run},
    {"serve", "answer requests by the APIs of OpenAI, DeepSeek and Anthropic", cmd_serve},
    {"chat", "talk with a model in the terminal", cmd_chat},
    {"init", "write a commented recipe to start from", cmd_init},
    {"train", "train a model from a recipe", cmd_train},
    {"reason", "teach a model to think, from nothing, in stages", cmd_reason},
    {"report", "draw the curves of training runs into one HTML file", cmd_report},
    {"eval", "measure models on a text and on tasks, side by side", cmd_eval},
    {"export", "write a trained model for other programs", cmd_export},
    {"demo", "watch a small model learn to calculate, and talk with it", cmd_demo},
    {"convert", "write a model in another format or other number types", cmd_convert},
    {"synth", "write a model of random numbers", cmd_synth},
    {"info", "show this machine, and how a model would run on it", cmd_info},
    {"pull", "fetch a model from the network into the cache folder", cmd_pull},
    {"list", "list the models in the cache folder", cmd_list},
    {"rm", "remove a model from the cache folder", cmd_rm},
    {"inspect", "show what the files of a model say", cmd_inspect},
    {"bench", "measure how fast a model runs on this machine", cmd_bench},
    {"doctor", "check whether this machine is fit, and say what to do", cmd_doctor},
    {"tokenize", "convert text to token ids and back", cmd_tokenize},
    {"tokenizer", "learn a tokenizer from texts", cmd_tokenizer},
    {"keys", "make, list and revoke keys of the service", cmd_keys},
    {"backup", "copy a service's keys and conversations", cmd_backup},
    {"index", "index documents, so that `lisao search` finds them", cmd_index},
    {"search", "find passages in indexed documents", cmd_search},
    {"perplexity", "measure how well a model predicts a text", cmd_perplexity},
    {"logits", "write the logits of a token sequence to a .npy file", cmd_logits},
};

static void usage(FILE *f) {
    fputs("Usage: lisao COMMAND [OPTIONS]\n\nRuns and trains language models on CPUs. Results are "
          "the "
          "same bits on every machine.\n\nCommands:\n",
          f);
    for (int64_t i = 0; i < COUNT(commands); i++)
        fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\n`lisao COMMAND --help` lists a command's options. `lisao --version` prints the "
          "version.\n"
          "Exit codes: 0 success, 1 error (file, network, input), 2 wrong usage, 130 interrupted.\n"
          "\nExamples:\n"
          "  lisao run SmolLM2-135M-Instruct.Q4_1 --act a16 --prompt \"What is rain?\"\n"
          "  lisao chat model.gguf\n  lisao train tiny-en --set data.train=text.txt\n",
          f);
}

static int version(void) {
    Arena *a = arena_open("version", 1 << 20);
    printf("lisao %s (commit %s)\nlevels:", LISAO_VERSION, LISAO_COMMIT);
    for (int v = 0; v < LEVEL_N; v++) {
        Err err = {0};
        if (kern_init((Level)v, &err)) printf(" %s", level_name((Level)v));
    }
    printf("\n");
    arena_close(a);
    return 0;
}

bool command_start(const Command *c, int *argc, char **argv, int *code) {
    return command_start_given(c, argc, argv, NULL, code);
}

bool command_start_given(const Command *c, int *argc, char **argv, bool *given, int *code) {
    Err err = {0};
    bool helped = false;
    if (*argc == 2 && !strcmp(argv[1], "--man")) {
        Arena *a = arena_open("man", 1 << 22);
        Buf b = {.a = a};
        opt_man(c, &b);
        printf("%.*s", STRF(buf_str(&b)));
        arena_close(a);
        *code = 0;
        return false;
    }
    bool ok = given ? opt_parse_given(c, argc, argv, given, &helped, &err)
                    : opt_parse(c, argc, argv, &helped, &err);
    *code = ok ? 0 : command_failed(c, &err);
    return ok && !helped;
}

int command_failed(const Command *c, const Err *err) {
    fprintf(stderr, "lisao %s: %s\n", c->name, err->msg);
    if (err->code == ERR_USAGE) fprintf(stderr, "See `lisao %s --help`.\n", c->name);
    return err_exit_code(err);
}

/* The man page: what every command's option table says, one section each. */
static int man(void) {
    printf(".TH LISAO 1 \"\" \"lisao %s\"\n.SH NAME\nlisao \\- run and train language models "
           "on CPUs\n"
           ".SH SYNOPSIS\n.B lisao\nCOMMAND [OPTIONS]\n",
           LISAO_VERSION);
    for (int64_t i = 0; i < COUNT(commands); i++) {
        char name[16], flag[] = "--man";
        snprintf(name, sizeof name, "%s", commands[i].name);
        commands[i].run(2, (char *[]){name, flag, NULL});
    }
    printf(".SH EXIT STATUS\n0 success, 1 error (file, network, input), 2 wrong usage, 130 "
           "interrupted.\n");
    return 0;
}

static int unknown_command(const char *name) {
    const char *names[COUNT(commands)];
    for (int64_t i = 0; i < COUNT(commands); i++) names[i] = commands[i].name;
    const char *near = str_nearest(str_of(name), names, COUNT(names));
    fprintf(stderr, "lisao: there is no command \"%s\"%s%s%s; see `lisao --help`\n", name,
            near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
    return 2;
}

static int command(int argc, char **argv) {
    if (argc < 2) return usage(stderr), 2;
    if (argc == 3 && !strcmp(argv[1], "help")) {
        char help[] = "--help"; /* `lisao help run` is `lisao run --help` */
        return command(3, (char *[]){argv[0], argv[2], help, NULL});
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
        return usage(stdout), 0;
    if (!strcmp(argv[1], "--version")) return version();
    if (!strcmp(argv[1], "--man")) return man();
    for (int64_t i = 0; i < COUNT(commands); i++)
        if (!strcmp(argv[1], commands[i].name)) return commands[i].run(argc - 1, argv + 1);
    return unknown_command(argv[1]);
}

/* What was printed counts only once it has arrived: a full disk behind stdout is a failure. */
int main(int argc, char **argv) {
    os_claim_std();
    int code = command(argc, argv);
    bool arrived = fflush(stdout) == 0 && !ferror(stdout);
    if (code != 0 || arrived) return code;
    fputs("lisao: writing to standard output failed: it does not have all of the result\n", stderr);
    return 1;
}
