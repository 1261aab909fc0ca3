/* grammar.h -- part of text.h: answers that are bound to a form.
 *
 * A Grammar says which bytes an answer may have: a value that a JSON Schema allows, any JSON
 * object, what a regular expression matches, calls of tools. It is compiled once and shared by any
 * number of sequences, each with a Constraint of its own; a Grammar and its constraints belong to
 * one thread. What the model thinks before its answer stays free.
 * What is written is JSON without free space: at most one blank behind ':' and ','.
 * docs/grammar.md says what of JSON Schema and of regular expressions is known; everything else is
 * refused, and the message names its path. */
#pragma once

/* All tokens of a model by their bytes, for all grammars of that model; it does not change.
 * end: the tokens that end an answer, of which there must be one. The tokenizer must outlive it. */
typedef struct Lexicon Lexicon;
bool lexicon_new(Lexicon **out, Arena *a, const Tokenizer *t, int64_t V, const int32_t *end,
                 int64_t n_end, Err *err) CHECKED;

typedef enum GrammarKind {
    GRAMMAR_SCHEMA,
    GRAMMAR_OBJECT,
    GRAMMAR_REGEX,
    GRAMMAR_CALLS
} GrammarKind;
typedef struct GrammarSpec {
    GrammarKind kind;
    Str text;      /* SCHEMA: a JSON Schema; REGEX: the expression; CALLS: tools, an array of JSON
                      in the form of OpenAI's API */
    bool thoughts; /* the answer may begin with a thought of <think>...</think> */
    /* CALLS: */
    ToolSyntax syntax;
    bool must_call; /* else a call is bound from its tag on, and text before it is free */
    bool many;      /* several calls */
    Str name;       /* must_call: of this tool; n = 0: of any */
} GrammarSpec;
typedef struct Grammar Grammar;
/* Takes some MB of `a` for what is remembered of the walk, and no more later. */
bool grammar_new(Grammar **out, Arena *a, const Lexicon *l, const GrammarSpec *spec,
                 Err *err) CHECKED;
/* Of one sequence, whose tokens are kept in `a`. in_thought: the prompt has opened <think>. */
void grammar_constraint(Constraint *out, Arena *a, Grammar *g, bool in_thought);

/* Both at once, such as a budget for thoughts and a grammar: what the first forces comes, else the
 * second decides. Both outlive it. */
void constraint_both(Constraint *out, Arena *a, const Constraint *first, const Constraint *second);
