/* text.h -- the public header of text/: text to token ids and back, and conversations in the
 * encoding that a chat model was trained on.
 *
 * Promises: text_encode gives the ids that Hugging Face `tokenizers` gives with
 * add_special_tokens=false, in O(n log n) time. Any bytes can be encoded. Where the vocabulary has
 * all 256 bytes and nothing is normalised, decoding returns exactly these bytes. What a user wrote
 * never becomes a special token in a conversation: chat_encode takes all content as plain text.
 * A tokenizer file is not trusted: it either loads or an Err names the field. A feature of the
 * format that is not implemented is refused by name, never skipped, because a tokenizer that is
 * nearly right is worse than none.
 * Ownership: a Tokenizer, a Chat and the strings they return live in the arena they were made in. A
 * Tokenizer also owns compiled code outside of it: tokenizer_close. Results grow in the arena of
 * the Ids or the Buf that the caller passes; `scratch` is emptied before a call returns and must be
 * another arena.
 * Threads: a Tokenizer and a Chat do not change once they are made; any number of threads may use
 * one. A Decoder and a Splitter belong to one stream of tokens.
 *
 * docs/tokenizers.md says what of the formats is read, and how. */
#pragma once
#include "base/base.h"

/* ---- ids ------------------------------------------------------------------------------------- */

typedef struct Ids {
    Arena *a;
    int32_t *v;
    int64_t n, cap;
} Ids;                                      /* a growing row of token ids */
bool ids_add(Ids *ids, int32_t id) CHECKED; /* false when the arena is full */

/* ---- tokenizers ------------------------------------------------------------------------------ */

typedef struct Tokenizer Tokenizer;

/* From the bytes of a tokenizer.json: byte-level BPE as DeepSeek-V3, Qwen3 and SmolLM2 have it.
 * `name` stands in messages (a path). Takes up to twice the file's size in `a` (measured: 1.4
 * times), and less than its size more while it reads. */
bool tokenizer_open_json(Tokenizer **out, Arena *a, Str json, const char *name, Err *err) CHECKED;

/* The same from the values of a GGUF file, whose caller read them: tokenizer.ggml.KEY, the keys as
 * the members are called. model: "gpt2" (byte-level BPE: merges and pre are read) or "llama"
 * (SentencePiece BPE: scores are). Nothing of the arrays is kept. docs/tokenizers.md has the names
 * of pre-tokenizers that are known. */
typedef struct TokenizerParts {
    const char *name; /* in messages */
    Str pre;          /* empty: "default" */
    const Str *tokens;
    int64_t n_tokens; /* token i has id i */
    const int32_t *types;
    int64_t n_types; /* one a token, or none at all: all are normal */
    const Str *merges;
    int64_t n_merges; /* "left right", best first */
    Str model;        /* empty: "gpt2" */
    const float *scores;
    int64_t n_scores;     /* one a token */
    int32_t unknown;      /* unknown_token_id of "llama" */
    bool no_space_prefix; /* add_space_prefix is false */
} TokenizerParts;
bool tokenizer_open_parts(Tokenizer **out, Arena *a, const TokenizerParts *p, Err *err) CHECKED;
/* From a tiktoken.model (Kimi, Moonlight): lines "base64-of-the-token rank"; and the members
 * added_tokens_decoder of the tokenizer_config.json beside it. */
bool tokenizer_open_tiktoken(Tokenizer **out, Arena *a, Str model, Str config, const char *name,
                             Err *err) CHECKED;

void tokenizer_close(Tokenizer *t); /* NULL is fine */

/* What a GGUF file says of a tokenizer, whichever file it came from; a text that holds what
 * tokenizers differ in has the same ids with it, else it fails. */
bool tokenizer_parts(TokenizerParts *p, Arena *a, const Tokenizer *t, Arena *scratch,
                     Err *err) CHECKED;
/* A tokenizer.json of it. bos: a token in front of each text that is encoded with special tokens;
 * -1: none. */
bool tokenizer_json(Buf *out, const Tokenizer *t, int32_t bos, Arena *scratch, Err *err) CHECKED;

int64_t tokenizer_size(const Tokenizer *t); /* 1 + the largest id; a model's V may be larger */
/* What the token stands for; empty for an id without a token, and for any id out of range. */
Str token_bytes(const Tokenizer *t, int32_t id);
/* A token that is not text for the reader: special in tokenizer.json, control in GGUF. */
bool token_is_special(const Tokenizer *t, int32_t id);
/* The id of the added token spelled `content`, or -1. Added tokens are those outside of the merges:
 * all special ones, and others like <think>. */
int32_t token_named(const Tokenizer *t, Str content);
/* The token that tokenizer.json's post_processor puts in front of a text; -1: none, and for other
 * files. text_encode never does. */
int32_t token_begin(const Tokenizer *t);

/* The tokenizer.json and tokenizer_config.json of a tokenizer that is always there: a token for
 * each byte, and <|user|>, <|assistant|>, <|end|>, <think>, </think>, <|endoftext|>. */
Str byte_tokenizer_json(Arena *a), byte_tokenizer_config(Arena *a);

/* ---- training a tokenizer -------------------------------------------------------------------- */

/* Learns the merges of a byte-level BPE from texts that are added one after the other. Words are
 * cut as DeepSeek-V3's tokenizer cuts them. The result does not depend on threads, and on how the
 * texts are handed over only where words do not fit into memory. Ids begin with the special tokens
 * of conversations, thoughts and tool calls, which bpe_chat_config writes conversations with.
 * Memory: about 1.5 GB at most, whatever the texts' length; words that no longer fit are left out,
 * those that were seen least. */
typedef struct BpeTrainer BpeTrainer;
enum { BPE_VOCAB_MAX = 65534 };
typedef struct BpeSpec {
    int64_t vocab;                  /* tokens in all */
    bool single_digits;             /* no token has two of 0-9 */
    int64_t most_bytes, most_notes; /* tests: limits of words, and of memory for merges; 0: usual */
} BpeSpec;
int64_t bpe_vocab_least(void); /* the special tokens and the bytes */
bool bpe_trainer_open(BpeTrainer **t, const BpeSpec *spec, Team *team, Err *err) CHECKED;
/* Some MB at a time; words do not reach from one text into another. Nothing of them is kept. */
bool bpe_trainer_add(BpeTrainer *t, const Str *text, int64_t n, Err *err) CHECKED;
/* Once, at the end. Has fewer tokens than wanted where the texts have no more pairs. */
bool bpe_trainer_learn(BpeTrainer *t, Tokenizer **out, Arena *a, Err *err) CHECKED;
void bpe_trainer_close(BpeTrainer *t);              /* NULL is fine; what was learnt stays */
int64_t bpe_trainer_forgotten(const BpeTrainer *t); /* different words that did not fit */
/* The tokenizer_config.json beside it: chat template, end token. last: the template writes nothing
 * that lies before the last question, for models that learn single problems. */
Str bpe_chat_config(Arena *a, bool last);

/* ---- text -> ids ----------------------------------------------------------------------------- */

typedef enum TextMode {
    TEXT_PARSED, /* added tokens in it become their ids */
    TEXT_PLAIN   /* all of it is text: for everything a user wrote */
} TextMode;

/* Appends the ids of `text`. Fails when an arena is too small (scratch: 100 bytes a byte of text
 * are enough, 300 with NFC; out: 8), and when a regular expression of the tokenizer exceeds its
 * limits, which none of the known ones does; ids are then as before. A byte that has no token
 * (SmolLM2 lacks 21 rare ones) is left out, as in Hugging Face. */
bool text_encode(Ids *out, const Tokenizer *t, Str text, TextMode mode, Arena *scratch,
                 Err *err) CHECKED;

/* ---- ids -> text ----------------------------------------------------------------------------- */

/* A streaming decoder. Its output is always valid UTF-8 and whole characters only, each returned by
 * the call in which its last byte arrives. Each maximal invalid part of a UTF-8 sequence gives one
 * U+FFFD, as Python's errors="replace" and Rust's from_utf8_lossy do; so the stream equals decoding
 * all the bytes at once. */
typedef struct Decoder {
    const Tokenizer *t;
    bool skip_special; /* tokens of token_is_special give nothing */
    uint8_t held[4];
    int n_held; /* the beginning of a character */
    bool begun; /* a token has been decoded */
} Decoder;
void decoder_init(Decoder *d, const Tokenizer *t, bool skip_special);
void decoder_push(Decoder *d, int32_t id, Buf *out);
void decoder_end(Decoder *d, Buf *out); /* a held incomplete character gives U+FFFD */

/* All at once. */
void text_decode(Buf *out, const Tokenizer *t, const int32_t *ids, int64_t n, bool skip_special);

/* ---- conversations --------------------------------------------------------------------------- */

typedef enum Role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL, ROLE_N } Role;

typedef struct Message {
    Role role;
    Str content;
    Str reasoning; /* an assistant's thoughts; p NULL: none */
} Message;

/* How a family writes tool calls: JSON or tags between <tool_call> and </tool_call>; DeepSeek's. */
typedef enum ToolSyntax { TOOLS_NONE, TOOLS_QWEN, TOOLS_DEEPSEEK } ToolSyntax;

/* Where a template looks for what an assistant thought: in a message's reasoning_content; in a
 * <think>...</think> before the content; nowhere. */
typedef enum Thoughts { THOUGHTS_APART, THOUGHTS_BEFORE, THOUGHTS_NONE } Thoughts;

/* How a model was taught to read conversations: its own chat template, a program in Jinja that
 * comes with it. docs/tokenizers.md says what of the language is known. */
typedef struct Chat {
    const Tokenizer *t;
    const struct Node *tree; /* private: the template */
    ToolSyntax tools;        /* what of calls the template knows */
    Thoughts thoughts;
    Str bos, eos;    /* what bos_token and eos_token stand for in it */
    int32_t end;     /* what it ends an assistant's turn with, or -1: one of the stop tokens,
                                beside the model's end of text */
    Str thought_end; /* what it writes between a thought and its answer; n = 0: it knows none */
} Chat;

/* bos, eos: what bos_token and eos_token are spelled in the template; must outlive the Chat. Fails
 * for an empty template, and for one that is not valid or has statements that are not known, naming
 * the line. The tree lives in `a`. */
bool chat_init(Chat *c, Arena *a, const Tokenizer *t, Str chat_template, Str bos, Str eos,
               Err *err) CHECKED;

/* Whether the answer begins with reasoning, in families that leave the choice. */
typedef enum Think { THINK_DEFAULT, THINK_ON, THINK_OFF } Think;
typedef struct ChatOptions {
    bool generate; /* end with the beginning of the assistant's turn */
    Think think;   /* the template's enable_thinking or thinking; a thought that it opens all the
                      same is closed at once by THINK_OFF */
    Str request;   /* instead of messages: JSON {"messages": [...], "tools": [...], ...}, whose
                      members are the template's variables; n = 0: none */
    int64_t now;   /* seconds since 1970, for templates that write the date */
} ChatOptions;
/* Appends the conversation, rendered to `text` and encoded to `out` (each may be NULL). Special
 * tokens come from what the template writes only; content, whatever it spells, is text. Fails where
 * the template refuses the conversation, with its own words, and where it takes too long or too
 * much memory. */
bool chat_encode(Ids *out, Buf *text, const Chat *c, const Message *messages, int64_t n,
                 ChatOptions options, Arena *scratch, Err *err) CHECKED;
/* A prompt that ends with an open <think>: what is generated begins inside the thought. */
bool chat_opens_thought(Str rendered);

/* ---- budgets of thoughts --------------------------------------------------------------------- */

/* Ends a sequence's thought after `budget` tokens: what comes then is chat.thought_end, token by
 * token, and behind it the answer goes on freely. A thought that ends before is not touched, nor is
 * an answer without one. in_thought: the prompt has opened it. What the constraint knows grows in
 * `a`. ERR_UNSUPPORTED where the template knows no thoughts. */
bool thought_budget(Constraint *out, Arena *a, const Chat *c, int64_t V, int64_t budget,
                    bool in_thought, Err *err) CHECKED;
/* "64", or an effort: "low", "medium", "high". */
bool thought_budget_read(int64_t *budget, Str s) CHECKED;
#define THOUGHT_EFFORTS "low (512), medium (2048) or high (8192)"

/* ---- stop strings ---------------------------------------------------------------------------- */

/* Ends a text before the first of some strings, wherever tokens cut it. Only what may still become
 * one of them is held back. */
enum { STOPS_MAX = 16, STOP_BYTES = 256 }; /* strings; bytes of one */
typedef struct Stops {
    const Str *v; /* (n), not copied */
    int64_t n;
    char held[STOP_BYTES];
    int64_t n_held; /* the longest beginning of a string that the text ends with */
    bool found;     /* nothing more comes out: ... */
    int64_t which;  /* ... string v[which] ended the text */
} Stops;
/* ERR_USAGE for an empty or too long string, and for too many. */
bool stops_init(Stops *s, const Str *v, int64_t n, Err *err) CHECKED;
void stops_push(Stops *s, Str text, Buf *out);
void stops_end(Stops *s, Buf *out); /* the text is over: what was held is text */

/* ---- reasoning and tool calls ---------------------------------------------------------------- */

/* Splits generated text, while it streams, into the reasoning between <think> and </think>, the
 * answer, and tool calls in the syntax of the model's family. Reasoning is recognised only at the
 * very beginning (or begins there, where the prompt has opened it already). Line breaks inside and
 * outside the tags belong to no part. Only text that may become a tag is held back; a call comes
 * when it is whole, and what is no call is text of the answer. */
typedef enum SplitState {
    SPLIT_START,
    SPLIT_THOUGHT,
    SPLIT_GAP,
    SPLIT_ANSWER,
    SPLIT_CALL
} SplitState;
typedef struct Splitter {
    SplitState state;
    ToolSyntax tools;
    bool thought;     /* a <think> was read: reasoning is not NULL */
    bool begun;       /* the reasoning has text already */
    int64_t newlines; /* held back: line breaks, and after them ... */
    char held[40];    /* ... the beginning of a tag */
    int64_t n_held;
    int64_t call; /* where in `calls` the open one begins */
} Splitter;
/* What is read is appended to these; calls: a line {"name": ..., "arguments": {...}} for each. It
 * may be NULL with TOOLS_NONE. */
typedef struct SplitText {
    Buf *reasoning, *answer, *calls;
} SplitText;
void splitter_init(Splitter *s, bool in_thought, ToolSyntax tools);
void splitter_push(Splitter *s, Str text, const SplitText *to);
void splitter_end(Splitter *s, const SplitText *to);
/* A token that is spelled so is for the splitter, even where the tokenizer marks it as special. */
bool splitter_knows(const Splitter *s, Str spelling);
/* All tokens of an answer at once, its end token left out, through a splitter that was just begun.
 * Special tokens are no text, but for those that it knows. */
void splitter_tokens(Splitter *s, const Tokenizer *t, const int32_t *ids, int64_t n,
                     const SplitText *to);

#include "text/grammar.h" /* answers that are bound to a form */
