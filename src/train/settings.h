/* settings.h -- part of train.h: recipes, and what they set. */
#pragma once

/* A YAML file of sections; a key's name here is its name there and in --set: `optim: {lr: 3e-4}`,
 * `--set optim.lr=3e-4`. Numbers are strict (no trailing letters, ranges checked, whole numbers
 * where counts are meant), unknown keys are refused with the nearest known one, missing ones
 * named. Keys of model.* are those of Hugging Face's config.json and go through the same reader.
 * docs/training.md explains all of them. */
typedef enum Objective {
    OBJECTIVE_PRETRAIN,
    OBJECTIVE_SFT,
    OBJECTIVE_DISTILL,
    OBJECTIVE_GRPO
} Objective;
const char *objective_name(Objective o);
typedef struct Recipe {
    const char *path;    /* the file, for messages */
    Objective objective; /* pretrain: texts; sft: .jsonl are conversations; distill: sft on what a
                          * teacher answers, or on its probabilities; grpo: its own answers */
    struct {
        const char *teacher;   /* a model, or the address of one, http://HOST/v1 */
        const char *model;     /* its name there */
        const char *prompts;   /* "task:...", or a .jsonl of {"prompt" or "messages", "answer"?} */
        int64_t count;         /* of the prompts */
        int64_t samples, most; /* answers to each, and so many of them are kept */
        int64_t max_tokens;
        double temperature;
        bool right;     /* only right ones are kept */
        int64_t logits; /* learn the probabilities of so many tokens at every place of data.train
                         * instead, which the teacher reads; 0: its answers */
    } distill;
    struct {
        const char *family;       /* llama, qwen3, deepseek_v3, ..; "" with init_from */
        int64_t vocab_size;       /* 0: the tokenizer's */
        double initializer_range; /* standard deviation of fresh matrices */
        Str json;                 /* the section as members of a config.json */
    } model;
    struct {
        double weight, weight_late, late_from; /* weight_late from that part of optim.steps on */
    } mtp;                                     /* loss of layers that predict further tokens */
    const char *init_from; /* start from the weights of this folder or file; "": fresh */
    const char *tokenizer; /* a tokenizer.json, its folder, or "bytes"; "": that of init_from; goes
                            * along into checkpoints */
    struct {
        /* Texts, as texts_open names them, or "task:..."; valid may be "". A mixture is a list in
         * YAML, [{source: "a", weight: 0.5, from: 0, to: 0.5}, ...]; its parts, or the one text: */
        const char *train, *valid;
        struct {
            const char *source;
            double weight, from, to; /* shares of the steps between which it is drawn from */
        } part[MIX_MOST];
        int64_t n_parts;
        int64_t documents;     /* made of each task:... */
        const char *separator; /* the line between documents */
        const char *field;     /* the member of a .jsonl's lines that has the text */
        const char *end;       /* the token behind a document; "": the separator's, or the
                                      tokenizer's eos_token */
        const char *cache;     /* folder of token shards; "": under $XDG_CACHE_HOME */
    } data;
    struct {
        int64_t sequence; /* places in a row */
        int64_t tokens;   /* places in a step: a multiple of micro */
        int64_t micro;    /* places in one forward: a multiple of sequence */
    } batch;
    struct {
        double lr, lr_min; /* peak; where a cosine ends */
        double betas[2], eps, weight_decay;
        double clip; /* norm above which gradients are scaled down; 0: never */
        int64_t warmup, steps;
        const char *schedule; /* constant, cosine, wsd */
        double decay_steps;   /* of wsd; below 1 a part of steps */
        Optimiser optimiser;  /* of the layers' matrices: adamw, muon */
        DType moments;        /* F32, BF16: how moments are kept */
        double momentum;      /* Muon's */
        int64_t muon_steps;   /* 10 or 5 */
    } optim;
    struct {
        double rate,
            decay; /* of the routers' biases; the part of the steps in which it goes to 0 */
        double sequence_loss; /* weight of the sequence-wise loss */
    } balance;
    struct {
        /* How rewards become weights of tokens: lisao, grpo, dr_grpo, dapo (grpo.c). */
        const char *variant;
        int64_t prompts, samples; /* problems of a step that teach something; answers to each */
        int64_t max_tokens;       /* of an answer, its thought included */
        int64_t updates;          /* optimiser steps that the answers are used for, in parts */
        int64_t rounds;           /* of drawing further problems for those that teach nothing */
        int64_t sequences;  /* answers written at once; 0: 32 a thread. No bit depends on it */
        double temperature; /* of the answers */
        double kl;          /* weight of the divergence from the first model, init_from; 0: none */
        double clip_low, clip_high; /* the ratio of probabilities counts within 1 - low, 1 + high */
        int64_t transcripts;        /* answers of a step that go to rollouts.jsonl */
        int64_t valid_problems;     /* held-out problems of a validation */
    } grpo;
    struct {
        const char *command; /* a program that rewards answers (docs/training.md); "": the task */
        double timeout;      /* seconds that it may take for one */
    } reward;
    Act act; /* f32, a16 */
    uint64_t seed;
    struct {
        const char *folder;
        int64_t every, keep;
    } checkpoint;
    struct {
        int64_t every, tokens;
    } eval; /* every 0: at the end only; tokens 0: all */
    struct {
        int64_t every;      /* steps a line of <folder>/metrics.jsonl */
        int64_t load_every; /* steps a line with the load of every expert; 0: none */
    } log;
    struct {
        int64_t every, tokens; /* every 0: none */
        double temperature;    /* 0: greedy */
        const char *prompt;
    } sample;  /* texts that the model in training writes */
    Str *text; /* private: every key's value, as recipe_print writes it */
} Recipe;

/* Reads the file, then each "key=value" of `set`, which wins. Relative paths are relative to where
 * the program was started, wherever the recipe lies; "${recipe_folder}/" at the beginning of one
 * stands for the recipe's own folder. */
bool recipe_read(Recipe *r, Arena *a, const char *path, const char *const *set, int64_t n_set,
                 Err *err) CHECKED;
/* The recipe as a file that recipe_read reads as the same recipe, defaults written out. A text that
 * is not UTF-8 cannot stand in YAML: an error. */
bool recipe_print(const Recipe *r, Buf *out, Err *err) CHECKED;
/* The file of a recipe that is named by its path, or by the name of one that comes with the program
 * ("tiny-en"): in share/lisao/recipes beside the folder of the program that runs, or in recipes
 * where it was built. */
bool recipe_find(Arena *a, const char **path, const char *name, Err *err) CHECKED;
