/* bundle.h -- the public header of bundle/: a model opened whole: weights, tokenizer, chat encoding
 * and end tokens, from a GGUF file, a Hugging Face folder, a checkpoint, or a name in the cache.
 *
 * Promises: all who run a model open it here, so that a name means the same everywhere and a model
 * ends at the same tokens. Parts that are not asked for are not read. Nothing in the files is
 * trusted (file/, model/ and text/ check them); a part that is not there is an Err that says which,
 * and what can be done without it.
 * Ownership: everything lives in the arena that the bundle was opened with, and is valid until
 * bundle_close, which also ends the mappings of the files; the arena is the caller's. A Bundle must
 * not be copied while it is open.
 * Threads: one thread opens, loads and closes. Between these calls a Bundle does not change; any
 * number of threads may use its parts as the headers of the parts allow. */
#pragma once
#include "base/base.h"
#include "bundle/convert.h" /* writing a model whole */
#include "file/file.h"
#include "kern/kern.h"
#include "model/model.h"
#include "text/text.h"

typedef enum BundlePart {
    BUNDLE_MODEL = 1, /* weights, mapped, and the end tokens */
    BUNDLE_TOKENIZER = 2,
    BUNDLE_CHAT = 4, /* the chat encoding; takes the tokenizer along, and needs no model */
    BUNDLE_ALL = 7
} BundlePart;

enum { BUNDLE_ENDS = 8 }; /* most end tokens: as many as a request takes */

/* How to sample, as the model's files recommend it: generation_config.json, or general.sampling.*
 * in GGUF. -1: they do not say. */
typedef struct Recommended {
    float temperature, top_p, min_p, repetition_penalty;
    int64_t top_k;
} Recommended;

typedef struct Bundle {
    Arena *a;
    const char *path; /* the file or folder that the name led to */
    Store *store;     /* its tensors and metadata; NULL: a tokenizer by itself */
    unsigned loaded;  /* BundleParts */
    Model *model;     /* NULL until loaded, as the others */
    int64_t mtp;      /* layers for further tokens that loading opens (model_open_mtp): 0 unless the
                       * caller sets it between bundle_open and bundle_load */
    Tokenizer *tok;
    Str tok_json, tok_config; /* bytes of tokenizer.json and tokenizer_config.json; empty in GGUF
                               * and where there is none */
    int32_t bos; /* what the tokenizer puts in front of a text that is no conversation; -1: none */
    Chat chat;
    int32_t end[BUNDLE_ENDS]; /* tokens that end a text: those of the configuration and of
                               * generation_config.json, and with a chat the end of its turn */
    int64_t n_end;
    Recommended recommended;
} Bundle;

/* `name`: a path, or the name of a model in the cache (see models_find). For tokenizer and chat
 * encoding also a tokenizer.json, or a folder that has one and no weights. On failure nothing stays
 * open. */
bool bundle_open(Bundle *b, Arena *a, const char *name, unsigned parts, Err *err) CHECKED;
/* Further parts of an open bundle; those that are loaded already stay. After a failure the bundle
 * is as before. A tokenizer with more tokens than the model is warned of once. */
bool bundle_load(Bundle *b, unsigned parts, Err *err) CHECKED;
/* The text of the chat template as the files have it; empty where there is none. No part need be
 * loaded. */
bool bundle_template(Bundle *b, Str *text, Err *err) CHECKED;
/* tok_json and tok_config of an open tokenizer, made from its parts where the files have none
 * (GGUF, tiktoken); for that the model is loaded. */
bool bundle_tokenizer_files(Bundle *b, Err *err) CHECKED;
void bundle_close(Bundle *b); /* one that was never opened is fine, zeroed */

/* ---- the cache of models: os_cache_folder(a, "models") --------------------------------------- */

/* Their names, sorted: GGUF files, of a split one the first part, and folders with a config.json.
 * None where the folder is not there. */
bool models_list(Arena *a, Str **names, int64_t *n, Err *err) CHECKED;
/* The one that `name` means, and if there is none, an empty Str: the same name, else one that
 * differs by ".gguf" or the ending of a first part only, else in the case of letters, too. Where
 * several fit equally well they are an error that lists them. */
bool models_find(Str *found, Arena *a, const char *name, Err *err) CHECKED;
const char *models_nearest(Arena *a, const char *name); /* "did you mean"; NULL: none is near */
/* Of a model that models_list or models_find named: the bytes of all its files, and their removal.
 * A symbolic link is removed, and what it leads to stays. */
bool models_bytes(int64_t *bytes, Arena *a, Str model, Err *err) CHECKED;
bool models_remove(Arena *a, Str model, Err *err) CHECKED;

/* That the model has each of these ids, which its tokenizer gave. */
bool bundle_ids_check(const Bundle *b, const int32_t *ids, int64_t n, Err *err) CHECKED;
