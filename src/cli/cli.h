/* cli.h -- private to cli/: what the sub-commands share. The entrance opens files, builds the
 * model, hands it to the rooms, and turns their errors into messages and exit codes: 0 fine, 1
 * the world is wrong, 2 usage, 130 interrupted. */
#pragma once
#include "base/base.h"
#include "file/file.h"
#include "infer/infer.h"
#include "model/model.h"
#include "text/text.h"

/* Options that every command with a model takes; NULL: the model's default. */
typedef struct ModelOpts {
    const char *act, *mla, *kv, *cpu;
    int64_t lanes; /* 0: as many as there are CPUs */
} ModelOpts;
#define MODEL_OPTS(o)                                                                              \
    {OPT_STR,                                                                                      \
     "act",                                                                                        \
     "f32|a16|a8",                                                                                 \
     &(o).act,                                                                                     \
     "Activation format (default: a8 for quantised files, a16 for "                                \
     "bf16 and f16 ones, f32 for f32 ones).",                                                      \
     0,                                                                                            \
     0},                                                                                           \
        {OPT_STR,                                                                                  \
         "mla",                                                                                    \
         "expanded|absorbed",                                                                      \
         &(o).mla,                                                                                 \
         "Form of multi-head latent attention (default: as the "                                   \
         "checkpoint records, else absorbed).",                                                    \
         0,                                                                                        \
         0},                                                                                       \
        {OPT_STR,                                                                                  \
         "kv",                                                                                     \
         "f32|bf16",                                                                               \
         &(o).kv,                                                                                  \
         "Type of the KV cache (default: bf16; f32 under --act f32).",                             \
         0,                                                                                        \
         0},                                                                                       \
        {OPT_STR,                                                                                  \
         "cpu",                                                                                    \
         "ref|avx2|avx512|amx-emu|amx",                                                            \
         &(o).cpu,                                                                                 \
         "Highest kernel level to use (default: the best "                                         \
         "of this CPU). Results are the same bits.",                                               \
         0,                                                                                        \
         0},                                                                                       \
    {                                                                                              \
        OPT_I64, "lanes", "N", &(o).lanes,                                                         \
            "Threads (default: the CPUs of this process). Results are the same bits.", 0, 64       \
    }

/* A model opened for inference: everything lives in `arena` and is given back by session_close. */
typedef struct Session {
    Arena *arena;
    Team *team;
    Store *store;
    Model *model;
    Plan *plan;
    Tokenizer *tok; /* NULL until session_tokenizer */
    const char *path;
} Session;

/* A GGUF file, a folder, or a name in the cache ($XDG_CACHE_HOME/lisao/models); "" or NULL is
 * refused. */
bool model_path(Arena *a, const char **path, const char *model, Err *err) CHECKED;
/* Opens store and model and sets kernel level and lanes; then the caller completes *spec (rows,
 * pages, ...) and calls session_plan. */
bool session_open(Session *s, const char *model, const ModelOpts *o, PlanSpec *spec,
                  Err *err) CHECKED;
bool session_plan(Session *s, const PlanSpec *spec, Err *err) CHECKED;
bool session_tokenizer(Session *s, Err *err) CHECKED;
void session_close(Session *s);
/* The tokenizer alone, of a model or a tokenizer.json. */
bool tokenizer_load(Tokenizer **t, Arena *a, const char *path, Store *store, Err *err) CHECKED;

/* "[1, 2, 3]" or "1,2,3" -> ids, each 0 <= id < V; `what` names the source in messages. */
bool ids_parse(Arena *a, int32_t **ids, int64_t *n, Str text, int64_t V, const char *what,
               Err *err) CHECKED;

enum { RUN_ROWS = 512, RUN_CONTEXT = 4096 }; /* rows a step; default longest conversation */

/* The chat encoding that the model's template asks for. */
bool session_chat(Session *s, Chat *chat, Err *err) CHECKED;

/* One generation, as run and chat show it: tokens in, text out as it comes. */
typedef struct Speech {
    Session *s;
    Decoder decoder;
    Splitter splitter;
    bool split, quiet, dim;     /* look for <think>; print nothing; thoughts in grey */
    Buf text, reasoning, piece; /* the answer and the thoughts so far */
    Token *token;
    int64_t n; /* generated, the end token included */
    Finish finish;
    double start, first, last; /* seconds: asked, first token, last token */
} Speech;
typedef struct SpeechSpec {
    int64_t max_tokens;
    Sampling sampling;
    bool raw, ignore_end, quiet;
} SpeechSpec;
/* Runs the prompt through the engine until it ends or Ctrl-C; everything grows in `a`. */
bool speech_run(Speech *p, Arena *a, Session *s, Engine *e, const Ids *prompt,
                const SpeechSpec *spec, const Chat *chat, Err *err) CHECKED;

bool speech_void(Err *err);                     /* the error of FINISH_ERROR */

#define SAMPLING_OPTS(o)                                                                           \
    {OPT_F64,                                                                                      \
     "temperature",                                                                                \
     "T",                                                                                          \
     &(o).temperature,                                                                             \
     "0: always the likeliest token; higher: more varied.",                                        \
     0,                                                                                            \
     100},                                                                                         \
        {OPT_I64, "top-k", "N", &(o).top_k, "Draw among the N likeliest tokens only; 0: all.",     \
         0,       1 << 20},                                                                        \
        {OPT_F64,                                                                                  \
         "top-p",                                                                                  \
         "P",                                                                                      \
         &(o).top_p,                                                                               \
         "Draw among the likeliest tokens that together reach P; 1: all.",                         \
         0,                                                                                        \
         1},                                                                                       \
    {                                                                                              \
        OPT_I64, "seed", "S", &(o).seed, "The same seed gives the same text.", 0, 0                \
    }
typedef struct SamplingOpts {
    double temperature, top_p;
    int64_t top_k, seed;
} SamplingOpts;
static inline Sampling sampling_of(const SamplingOpts *o) {
    return (Sampling){(float)o->temperature, o->top_k, (float)o->top_p, (uint64_t)o->seed};
}

/* One line of stdin without its end, in `b` (emptied first); false at the end of input or when
 * interrupted. */
bool line_read(Buf *b);

int cmd_run(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_logits(int argc, char **argv);
int cmd_train(int argc, char **argv);

/* opt_parse, with --help and errors handled: true to go on, else *code is the exit code. */
bool command_start(const Command *c, int *argc, char **argv, int *code);
/* Prints the error as "lisao NAME: message" and returns its exit code. */
int command_failed(const Command *c, const Err *err);
