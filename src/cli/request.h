/* request.h -- private to cli/: one request to a model, from the command line or from a line of
 * JSON. One table of settings serves both: "top-k" of the command line is "top_k" in JSON. */
#pragma once
#include "cli/cli.h"

#include <jansson.h>

/* The settings as they were given; what was not given stands out of its bounds, and the model's
 * own recommendation takes its place, then the command's. */
typedef struct RequestOpts {
    double temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
    double dry_multiplier, dry_base;
    int64_t top_k, seed, dry_allowed_length, dry_penalty_last_n;
    int64_t max_tokens, top_logprobs;
    const char *think, *think_budget, *system;
    const char *schema, *regex; /* what the answer must be */
    bool json_object;
    OptList stop, logit_bias;
    bool raw, ignore_end;
} RequestOpts;
#define NOT_GIVEN (-1)
#define REQUEST_NOT_GIVEN                                                                          \
    .temperature = NOT_GIVEN, .top_p = NOT_GIVEN, .top_k = NOT_GIVEN, .min_p = NOT_GIVEN,          \
    .repetition_penalty = NOT_GIVEN, .dry_base = 1.75, .dry_allowed_length = 2,                    \
    .dry_penalty_last_n = -1
enum { REQUEST_OPTS = 24, TOP_LOGPROBS = 20, BIASES = 64 };
enum { RUN_OPTS = 6 }; /* the last RUN_OPTS rows are not for a chat */
/* Fills the rows of a command's table, pointing into *o; returns REQUEST_OPTS. */
int64_t request_opts(Opt row[REQUEST_OPTS], RequestOpts *o);

/* Grammars that several requests share; the caller's, in an arena that outlives them. */
enum { GRAMMARS_KEPT = 32 };
typedef struct Grammars {
    Arena *a;
    Lexicon *lexicon; /* NULL until the first */
    Str key[GRAMMARS_KEPT];
    Grammar *grammar[GRAMMARS_KEPT];
    int64_t n;
} Grammars;

/* How tools may be called, of "tool_choice": without it all that the model writes is let be. */
typedef enum ToolChoice { CHOICE_NONE, CHOICE_AUTO, CHOICE_REQUIRED } ToolChoice;

/* What is to be answered: of prompt, messages, conversation and ids the one that is there. */
typedef struct Request {
    RequestOpts opts;
    bool parts; /* a message of the conversation is a list of parts */
    Str prompt; /* a user's message, or with opts.raw a text to continue */
    const Message *message;
    int64_t n_messages;
    Str conversation; /* JSON: {"messages": [...], ...} */
    Ids ids;
    Sampling sampling;
    Str stop[STOPS_MAX];
    Bias bias[BIASES];
    const uint64_t *dry_breaks;
    Constraint limit; /* of the thought and the answer; self NULL: none */
    Grammars *grammars;
    ToolChoice choice;
    Str tool_list, tool_name; /* JSON; the only tool that may be called, n = 0: any */
    bool one_call;
    bool tools_given;
    ToolSyntax tools; /* of the calls that are looked for in the answer */
    bool plain;       /* no chat format: text is not looked through for reasoning */
    bool in_thought;  /* the prompt has opened <think> */
} Request;
/* {"messages", "tools", "kwargs"} of a line as chat_encode takes a conversation. */
bool conversation_request(Arena *a, Str *out, const json_t *line, Err *err) CHECKED;
/* The members of a line: prompt, messages or ids, tools, kwargs, and the settings. Texts live in
 * `a`; r->opts holds the defaults. */
bool request_read(Request *r, Arena *a, const json_t *line, Err *err) CHECKED;
/* Completes r for the model: ids (in `a`), sampling, and max_tokens, which the context of
 * `positions` may shorten. */
bool request_encode(Request *r, Arena *a, const Bundle *b, int64_t positions, Err *err) CHECKED;
