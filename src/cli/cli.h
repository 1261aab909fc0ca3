/* cli.h -- private to cli/: what the sub-commands share. cli/ opens files, builds the
 * model, hands it to the modules, and turns their errors into messages and exit codes: 0 success, 1
 * error (file, network, input), 2 wrong usage, 130 interrupted. */
#pragma once
#include "answer/answer.h"
#include "base/base.h"
#include "bundle/bundle.h"
#include "cli/args.h"
#include "infer/infer.h"

/* Options that every command with a model takes; NULL: the model's default. */
typedef struct ModelOpts {
    const char *act, *mla, *kv, *cpu;
    int64_t threads; /* 0: as many as there are CPUs */
    bool drafts;     /* of commands that let the model's MTP layer draft, where it has one; */
    bool no_mtp;     /* NO_MTP_OPT: not even so */
} ModelOpts;
/* Rows of option tables: a text or a choice, a flag, and a number between bounds. */
#define TEXT_OPT(name, arg, to, help)                                                              \
    { OPT_STR, name, arg, to, help, 0, 0, NULL }
#define FLAG_OPT(name, to, help)                                                                   \
    { OPT_FLAG, name, NULL, to, help, 0, 0, NULL }
#define NUMBER_OPT(kind, name, arg, to, help, lo, hi)                                              \
    { kind, name, arg, to, help, lo, hi, NULL }
#define MTP_OPT(to)                                                                                \
    FLAG_OPT("mtp", to,                                                                            \
             "Write the layers that predict further tokens (multi-token prediction), too.")
#define NO_MTP_OPT(o)                                                                              \
    FLAG_OPT("no-mtp", &(o).no_mtp,                                                                \
             "Leave out the layer that predicts further tokens (multi-token prediction): nothing " \
             "is drafted with it, and it takes no memory. Answers are the same bits.")
#define DATA_OPT(to)                                                                               \
    TEXT_OPT("data", "DIR", to,                                                                    \
             "The service's folder (default: $XDG_DATA_HOME/lisao, else ~/.local/share/lisao).")
#define THREADS_OPT(to)                                                                            \
    { OPT_I64, "threads", "N", to, THREADS_HELP, 0, 64, "t" }

#define ACT_HELP                                                                                   \
    "Number format of activations: a8 is 8-bit integers, a16 is bfloat16 (default: a8 for "        \
    "quantised files, a16 for bf16 and f16 files, f32 for f32 files)."
#define MLA_HELP                                                                                   \
    "How multi-head latent attention is computed, in DeepSeek models (default: as the "            \
    "checkpoint records, else absorbed)."
#define KV_HELP "Number format of the KV cache (default: bf16; f32 with --act f32)."
#define CPU_HELP                                                                                   \
    "Highest instruction set (default: the best); amx-emu computes AMX's products with AVX-512. "  \
    "Results are the same bits."
#define THREADS_HELP "Number of threads; 0: one per CPU. Results are the same bits."
#define LEVELS       "ref|avx2|avx512|amx-emu|amx"

/* The rows of ModelOpts `o` in a command's table. */
#define MODEL_OPTS(o)                                                                              \
    TEXT_OPT("act", "f32|a16|a8", &(o).act, ACT_HELP),                                             \
        TEXT_OPT("mla", "expanded|absorbed", &(o).mla, MLA_HELP),                                  \
        TEXT_OPT("kv", "f32|bf16", &(o).kv, KV_HELP), TEXT_OPT("cpu", LEVELS, &(o).cpu, CPU_HELP), \
        THREADS_OPT(&(o).threads)

/* A model opened for inference: everything lives in `arena` and is given back by session_close. */
typedef struct Session {
    Arena *arena;
    Team *team;
    Bundle bundle;
    Plan *plan;
} Session;

/* Opens parts of a model (bundle/bundle.h) and sets kernel level and threads, unless there is a
 * team already; then the caller completes *spec (rows, pages, ...) and calls session_plan. */
bool session_open(Session *s, const char *name, unsigned parts, const ModelOpts *o, PlanSpec *spec,
                  Err *err) CHECKED;
/* What drafts of the model's MTP layer need of an engine, where the layer was opened: e->mtp and
 * rows for them. */
void session_drafts(const Session *s, EngineSpec *e);
bool session_plan(Session *s, const PlanSpec *spec, Err *err) CHECKED;
void session_close(Session *s);

/* "[1, 2, 3]" or "1,2,3" -> ids, each 0 <= id < V; `what` names the source in messages. */
bool ids_parse(Arena *a, int32_t **ids, int64_t *n, Str text, int64_t V, const char *what,
               Err *err) CHECKED;

enum { MTP_DRAFTS = 1 }; /* of a sequence in a step: as many as the layer was trained for */
enum { RUN_ROWS = 512, RUN_CONTEXT = 4096 }; /* rows a step; default longest conversation */
/* The model's context, or what was wanted of it; warns where that was asked for and is more. */
int64_t context_bounded(const Session *s, int64_t wanted);

/* The error of a stdout that took not all (a full disk, a pipe whose reader is gone). */
bool output_failed(Err *err);

/* The path of the model that "hf:REPO..." names, fetched unless it was before; another name stays
 * as it is. */
bool model_pulled(const char **path, Arena *a, const char *name, Err *err) CHECKED;

struct json_t;
void json_show(struct json_t *j); /* on standard output, indented; takes j over */
/* For JSON, which is UTF-8, and the terminal: in what is none of it, and in place of control
 * characters, stand question marks. */
const char *path_shown(Arena *a, const char *path);
const char *text_shown(Arena *a, const char *text); /* the same, but line breaks and tabs stay */

int cmd_run(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_tokenizer(int argc, char **argv);
int cmd_logits(int argc, char **argv);
int cmd_train(int argc, char **argv);
int cmd_demo(int argc, char **argv);
int cmd_convert(int argc, char **argv);
int cmd_synth(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_perplexity(int argc, char **argv);
int cmd_pull(int argc, char **argv);
int cmd_init(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_reason(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_keys(int argc, char **argv);
int cmd_backup(int argc, char **argv);
int cmd_index(int argc, char **argv);
int cmd_search(int argc, char **argv);

/* opt_parse, with --help and errors handled: true to go on, else *code is the exit code. */
bool command_start(const Command *c, int *argc, char **argv, int *code);
/* The same; given[i] (n_opts) is set where option i was there. NULL: nobody asks. */
bool command_start_given(const Command *c, int *argc, char **argv, bool *given, int *code);
/* Prints the error as "lisao NAME: message" and returns its exit code. */
int command_failed(const Command *c, const Err *err);
