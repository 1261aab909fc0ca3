/* chain.h -- part of train.h: a run of several stages, each of which begins with the weights that
 * the one before it ended with. */
#pragma once

/* A YAML file:
 *
 *   folder: runs/reason-tiny        # every stage has a folder in it: 1-learn, 2-reinforce, ...
 *   tokenizer: {texts: [a, b], vocab: 1024, digits: 1, turns: 0, documents: 20000}
 *   all:                            # settings of every stage: sections of a recipe
 *     batch: {sequence: 256, tokens: 8192}
 *   stages:                         # in this order; settings of one's own win
 *     - {name: learn, model: {...}, data: {...}, optim: {...}}
 *     - {name: reinforce, objective: grpo, data: {...}, optim: {...}}
 *   evaluate: {tasks: ["countdown:3"], problems: 500, samples: 1, max_tokens: 256, seed: 1,
 *              budgets: "0,16,64,none"}     # of the last model's thoughts, for a curve
 *   export: q8_0                    # type of the GGUF file at the end
 *
 * Stages behind the first take their weights from the one before them unless they have an
 * init_from of their own, which may be the name of an earlier stage. docs/reason.md explains it. */
enum { STAGES_MOST = 16, CHAIN_LIST = 16 };
typedef struct Stage {
    const char *name;
    Recipe recipe;            /* checkpoint.folder: FOLDER/NUMBER-NAME */
    const struct Stage *from; /* with whose weights it begins, NULL where none of the file's */
} Stage;
typedef struct Chain {
    const char *path, *folder;
    struct {
        const char *text[CHAIN_LIST]; /* files, or task:...; n_texts 0: the stages name one */
        int64_t n_texts, vocab, digits, turns, documents;
    } tokenizer;
    Stage stage[STAGES_MOST];
    int64_t n_stages;
    struct {
        const char *task[CHAIN_LIST];
        int64_t n_tasks, problems, samples, max_tokens, seed;
        const char *budgets; /* as `lisao eval --think-budget` takes them; "": none */
    } evaluate;
    const char *export_type; /* "": none */
} Chain;
/* "key=value" of `set` has a stage's name or "all" in front of a recipe's key, learn.optim.steps=9,
 * or it is "folder=...". Errors as recipe_read's, naming the stage. */
bool chain_read(Chain *c, Arena *a, const char *path, const char *const *set, int64_t n_set,
                Err *err) CHECKED;
