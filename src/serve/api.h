/* api.h -- private to serve/: a request of the API from its bytes to a job of the engine.
 *
 * The order: route.c finds the route and lets in whose key fits; fields.c reads the body by the
 * route's table; the route's function (chat.c, messages.c, responses.c, text.c, embed.c, plain.c)
 * makes it a Job; engine_thread.c runs jobs on the engine thread; the job's Face writes the answer.
 *
 * A Call lives while its handler runs, on a worker's thread; what outlives it is the Job. Both are
 * in the exchange's arena. */
#pragma once
#include "answer/answer.h"
#include "serve/documents.h"
#include "serve/hosted.h"
#include "serve/http.h"
#include "serve/journal.h"
#include "serve/serve.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the state that all requests share ------------------------------------------------------- */

/* What is counted, for /metrics. */
typedef struct Counts {
    int64_t requests, refused, failed, cancelled, unknown_fields;
    int64_t prompt_tokens, cached_tokens, tokens, reasoning_tokens;
    int64_t running, waiting;
    int64_t loads, unloads, loaded; /* of models; now */
    int64_t stale;      /* models that answer no more: a file of theirs was written to */
    EngineStats engine; /* of all, as of their last step */
} Counts;

typedef struct History History;   /* conversations that are kept (history.h) */
typedef struct Training Training; /* runs that are shown (training.h) */
typedef struct Loader Loader;     /* the thread that loads models (hosted.c) */
typedef struct Gate Gate;         /* who is let in (gate.c) */
typedef struct Form Form;         /* a grammar that requests share (form.c) */
typedef struct Streams Streams;   /* what can be taken up again (kept.c), and one such stream */
typedef struct Kept Kept;
typedef struct Lookup Lookup;   /* searches that a model makes (lookup.c) */
typedef struct Lookups Lookups; /* the threads for them */
enum { FORMS = 64 };

typedef struct Api {
    const ServeSpec *spec;
    Hosted *host; /* (n_hosts) as spec->model */
    int64_t n_hosts;
    Loader *loader;
    Queue *jobs; /* Job *: from the workers to the engine thread */
    Server *http;
    Journal *journal;
    Monitor *lock; /* of what is below: threads of HTTP and the engine's come here */
    Counts count;
    bool draining;
    Form *form[FORMS];      /* NULL: a free place */
    uint8_t handle_key[32]; /* seals thoughts (handle.c) */
    char key[65];           /* SHA-256 of the one key (spec->api_key), which may be changed */
    Streams *streams;
    Gate *gate;           /* the keys of a store; NULL: none are asked for */
    History *history;     /* NULL: no conversations are kept */
    Documents *documents; /* NULL: none are searched */
    Training *training;   /* NULL: no runs are shown */
    Lookups *lookups;
    int64_t started;
} Api;

void count_add(Api *api, int64_t *what, int64_t n);
Counts counts_now(Api *api);
bool api_drains(Api *api);

/* ---- errors ---------------------------------------------------------------------------------- */

/* In whose shape a route answers. */
typedef enum Style { STYLE_OPENAI, STYLE_ANTHROPIC } Style;
typedef struct Fault {
    int64_t status;
    const char *type, *code; /* of OpenAI; the type of Anthropic follows from the status */
    const char *param;       /* NULL: none */
    int64_t retry;           /* seconds until it may come again; 0: 1 with 429 and 503 */
    char message[1200];
} Fault;
/* Sets a fault unless there is one; returns false. */
bool fault_set(Fault *f, int64_t status, const char *type, const char *code, const char *param,
               const char *fmt, ...) FORMAT(6, 7);
bool fault_value(Fault *f, const char *param, const char *fmt, ...) FORMAT(3, 4); /* a 400 */
/* The fault that an Err of text/, answer/ or infer/ is to whoever asked. */
bool fault_err(Fault *f, const Err *err);
Style style_of(Str path);
Str prefix_cut(Str path); /* what is behind the prefix that clients put in front of routes */
json_t *fault_json(const Fault *f, Style style, const char *request_id);
void fault_answer(Exchange *x, const Fault *f, Style style);

/* ---- a call ---------------------------------------------------------------------------------- */

/* The settings of all routes; `given` of a number says whether it was there (NOT_GIVEN: it was
 * not). JSON values are borrowed from the body. */
#define NOT_GIVEN (-1e9)
typedef struct Params {
    Str model, user, suffix, system_text, effort, instructions, encoding, link;
    bool stream, echo, logprobs, add_special, ignore_eos, background, experts;
    double max_tokens, max_completion, temperature, top_p, top_k, min_p, seed, n;
    double frequency_penalty, presence_penalty, repetition_penalty, top_logprobs, text_logprobs;
    double dimensions;
    json_t *messages, *prompt, *tools, *tool_choice, *stop, *logit_bias, *response_format;
    json_t *stream_options, *thinking, *reasoning, *kwargs, *system, *input, *include, *ids;
    json_t *enable_thinking, *output_config, *text, *previous, *parallel, *metadata;
    json_t *request, *answer; /* to be verified */
    json_t *conversations, *words, *search;
    Str route;
    Str type; /* of a file, whose bytes are `data` */
    json_t *data;
} Params;

typedef struct Verify Verify; /* an answer that is compared (compare.c) */
/* Passages that an answer is made from (cited.c): of documents, or results of a search engine, of
 * which path is an address, heading a title, and line and id are 0. */
typedef struct Cited {
    Passage *passage;
    int64_t n;    /* passage i is cited as [i + 1] */
    int64_t most; /* that have room */
    bool web;
} Cited;
enum { CITED_MOST = 5 }; /* passages of a search */

typedef struct Call {
    Api *api;
    Hosted *m;                  /* the model that it is for */
    const struct Route *routes; /* (n_routes) all there are */
    int64_t n_routes;
    Exchange *x;
    Arena *a;
    Style style;
    Str path; /* behind the prefix */
    json_t *body;
    Key key; /* id 0: none was asked for, or the one */
    Params p;
    int64_t now;    /* what templates and answers take for the time; seconds since 1970 */
    Verify *verify; /* NULL: it is a request of its own */
    Cited *cited;   /* NULL: no search was asked for */
    bool warned;    /* a thought is missing */
    bool seeded;    /* by the answer that is verified: */
    uint64_t seed;
    Fault fault;
} Call;

typedef enum FieldKind { FIELD_BOOL, FIELD_INT, FIELD_NUMBER, FIELD_TEXT, FIELD_JSON } FieldKind;
/* A member of a body: where it goes in Params, its bounds; schema: of OpenAPI, for FIELD_JSON. */
typedef struct Field {
    const char *name;
    FieldKind kind;
    size_t at;
    double lo, hi;
    const char *what, *schema;
} Field;
/* The body as JSON, strict: UTF-8, no member twice, at most 64 levels. */
bool body_read(Call *c);
bool depth_check(Str json); /* whether it has no more levels, looked at before it is parsed */
/* Sets c->m to the model that a body names, or to the first; the route's 404 for another name. */
bool model_pick(Call *c, const json_t *body);
bool members_read(Call *c, const Field *field, int64_t n);
#define P(member) offsetof(Params, member)
#define MODEL_FIELD                                                                                \
    {                                                                                              \
        "model", FIELD_TEXT, P(model), 0, 0,                                                       \
            "The model's name (default: the first). One that is served alone has any name.", NULL  \
    }
#define SEARCH_WORDS                                                                               \
    "Answer the last user message from what is found: true or \"documents\", of the server's "     \
    "documents (lisao serve --documents); \"web\", by its search engine (lisao serve "             \
    "--web-search "                                                                                \
    "URL), which is sent the end of the message. lisao.documents of the answer lists what [1], "   \
    "[2], ... in it are."
#define SEARCH_FIELD                                                                               \
    {                                                                                              \
        "search", FIELD_JSON, P(search), 0, 0, SEARCH_WORDS,                                       \
            "{\"enum\":[true,false,\"documents\",\"web\",null]}"                                   \
    }
typedef void RouteFn(Call *c);
typedef struct Route {
    const char *method, *path; /* behind the prefix; a '*' is an id */
    RouteFn *run;
    bool open; /* needs no key */
    const char *what;
    const char *answer; /* the type of its JSON (types.c), or a media type; NULL: it is a stream, */
    const char *events; /* in which each event's JSON has this type; NULL: it is none */
    const Field *field; /* of the body; NULL: there is none */
    const int64_t *n_fields;
} Route;
void routes_describe(Buf *b, const Route *route, int64_t n); /* in Markdown */
/* A type as JSON Schema; all that have names, by them; their texts. */
json_t *type_schema(const char *type);
json_t *types_schemas(void);
void types_describe(Buf *b);
void call_handle(void *api, Exchange *x);                                  /* ServerSpec.handler */
bool call_is_large(Str path);                                              /* ServerSpec.is_large */
Str call_refused(void *api, Exchange *x, int64_t status, const char *why); /* ServerSpec.refused */
void answer_json(Call *c, json_t *j); /* status 200; takes j over */
json_t *json_of(Str s);
json_t *file_json(Arena *a, Str path); /* names of files are bytes: '?' for what is no UTF-8 */
static inline Str json_text(const json_t *v) { /* borrowed; p is NULL where it is no string */
    return (Str){json_string_value(v), (int64_t)json_string_length(v)};
}
/* The bytes of float32, little-endian, in base64. */
const char *f32_base64(Arena *a, const float *v, int64_t n);

/* The routes' functions, by file. */
void answer_chat(Call *c);
void answer_text(Call *c);
void answer_messages(Call *c), answer_messages_count(Call *c);
void answer_responses(Call *c);
void answer_models(Call *c), answer_model(Call *c), answer_health(Call *c), answer_ready(Call *c);
void answer_version(Call *c), answer_balance(Call *c), answer_tokenize(Call *c),
    answer_detokenize(Call *c);
void answer_template(Call *c), answer_embeddings(Call *c), answer_metrics(Call *c),
    answer_page(Call *c);
void answer_openapi(Call *c);
void answer_verify(Call *c);
void answer_history(Call *c), answer_history_put(Call *c), answer_history_clear(Call *c),
    answer_history_export(Call *c), answer_history_search(Call *c), answer_history_read(Call *c),
    answer_history_remove(Call *c);
void answer_stream(Call *c), answer_stream_cancel(Call *c);
void answer_documents(Call *c), answer_passage(Call *c);
void answer_extract(Call *c);
void answer_runs(Call *c), answer_run(Call *c), answer_run_texts(Call *c), answer_run_feed(Call *c);
void answer_run_model(Call *c);
void answer_session(Call *c), answer_session_begin(Call *c), answer_usage(Call *c);
extern const char fault_types[], token_types[], lisao_types[], call_types[], chat_types[],
    text_types[], message_types[], response_types[], verify_types[], kept_types[], plain_types[],
    embeddings_types[], history_types[], cited_types[], run_types[], session_types[],
    extract_types[];
extern const Field chat_fields[], text_fields[], messages_fields[], responses_fields[],
    token_fields[], verify_fields[], embeddings_fields[], history_fields[], search_fields[],
    session_fields[], extract_fields[];
extern const int64_t n_chat_fields, n_text_fields, n_messages_fields, n_responses_fields,
    n_token_fields, n_verify_fields, n_embeddings_fields, n_history_fields, n_search_fields,
    n_session_fields, n_extract_fields;

/* ---- conversations --------------------------------------------------------------------------- */

/* A conversation in OpenAI's form, encoded for the model. */
typedef struct Talk {
    json_t *messages; /* owned; roles system, user, assistant, tool; contents are texts */
    json_t *tools;    /* owned or NULL */
    Think think;
    int64_t budget; /* of the thought, in tokens; -1: none */
    Ids ids;
    bool in_thought; /* the prompt has opened one; */
    bool answers;    /* or the answer has begun: no thought may come */
    Str rendered;
    GrammarSpec form; /* of the answer, where `formed` */
    bool formed;
    bool searches; /* the tools are the server's own */
    bool counted;  /* only the tokens are asked for */
} Talk;
/* OpenAI's messages into those that templates know: parts joined, developer as system. */
bool talk_messages(Call *c, Talk *t, json_t *messages);
/* thinking, reasoning_effort, reasoning.effort, enable_thinking, chat_template_kwargs: the table
 * stands in talk.c. */
bool talk_thinking(Call *c, Talk *t);
bool talk_encode(Call *c, Talk *t);
/* In place of it, where p.search may ask for passages: encodes `messages`, of which t->messages was
 * made, with passages in front of the last question, those that are found or that the answer to be
 * verified names, as many as fit beside an answer; they are c->cited then. */
bool talk_cite(Call *c, Talk *t, json_t *messages);
/* What the member "search" of a request asks for, and the server has. */
typedef struct Search {
    bool wanted, tool, web; /* tool: by the model itself */
} Search;
bool search_read(Call *c, Search *s);
/* At most CITED_MOST that are nearest to a question; those that an answer to be verified claims. */
bool passages_find(Call *c, Str question, Cited *cited);
bool cited_claimed(Call *c, const json_t *claimed, Cited *cited);
/* Quotes passages from number from + 1 on. */
void passages_quote(Buf *b, const Cited *cited, int64_t from);
/* Results of a search engine (web.c), at most CITED_MOST: those of its answer that say something;
 * those that an answer to be verified claims, where they have the form of what is found. */
bool web_results(Arena *a, Str answer, Cited *cited, Err *err) CHECKED;
bool web_claimed(Arena *a, const json_t *claimed, Cited *cited);
Str web_host(Str address); /* borrowed; n 0: it is no address of a web page */
void talk_drop(Talk *t);
/* The form that the answer must have, of a member "format"; what of t->tools may or must be called:
 * "auto", "none", "required", or with `name` this one; many: more than once. */
bool form_format(Call *c, Talk *t, const char *param, const json_t *format);
bool form_tools(Call *c, Talk *t, const char *choice, const char *name, bool many);

/* ---- jobs ------------------------------------------------------------------------------------ */

typedef struct Job Job;
typedef struct Choice Choice;

/* What a token brought: of the choice's texts, what is new; calls are whole lines. */
typedef struct Delta {
    Str thought, text, calls;
    int64_t from; /* first of g.token that is new */
} Delta;

/* How an answer is written. All are called on the engine thread. */
typedef struct Face {
    void (*begin)(Job *j);                    /* of a stream, once it was admitted; may be NULL */
    void (*delta)(Choice *c, const Delta *d); /* of a stream */
    void (*end)(Choice *c);                   /* of a stream: this choice has ended */
    void (*finish)(Job *j);                   /* all have: what is left of a stream, or all of it */
    void (*alive)(Job *j);                    /* of a stream, where long nothing was written */
    void (*searched)(Job *j);                 /* of a stream: the model has, or NULL */
    void (*fault)(Job *j, const Fault *f);    /* in the midst of a stream */
    void (*drop)(Job *j);                     /* what `state` holds outside of arenas; or NULL */
} Face;

struct Choice {
    Job *job;
    int64_t index;
    Ask ask;
    Generation g;
    Constraint budget;     /* of the thought; self NULL: none */
    Constraint form, both; /* of the answer; of both */
    Drafter drafter;       /* self NULL: none */
    Str echo;              /* text that stands in front (completions) */
    int64_t thought_sent, text_sent, calls_sent, tokens_sent;
    int64_t n_thought, n_calls; /* tokens of the thought; calls that were written */
    Buf experts;                /* (tokens, L, K) int32_t, where a verification asks for them */
    Decoder shown;              /* completions: of the tokens whose lists were written */
    int64_t offset;             /* characters of their text */
    uint8_t *of_thought;        /* NULL, or for each token whether it is one of the thought's */
    double *sum;                /* (C) of its hidden states, where they are asked for; else NULL */
    bool started, ended;
};

struct Job {
    Api *api;
    Hosted *m;
    Exchange *x;
    Arena *a;
    const Face *face;
    Style style;
    Choice *choice; /* (n) */
    int64_t n, left;
    int64_t begun, most; /* choices that were started; at most so many at once, 0: all */
    int64_t number;
    char id[48];
    Str model;
    int64_t created;
    uint64_t seed;
    int64_t budget;  /* of a thought; -1: none */
    Sha256 *prompts; /* of all prompts' tokens so far */
    Verify *verify;  /* NULL: it is no verification */
    Cited *cited;    /* NULL: no search was asked for */
    Lookup *lookup;  /* NULL: the model makes none */
    bool stream, usage, logprobs, base64;
    int64_t n_top;
    double wrote;     /* when something was last written */
    int64_t key;      /* 0: none that is counted */
    int64_t admitted; /* tokens of prompts that the key's limits have counted */
    KeyLimits limits;
    void *state; /* of the face */
    Form *form;  /* NULL: its answer is free */
    const char *tenant;
    Kept *kept;      /* its events; NULL: they are not kept */
    int64_t events;  /* so far */
    bool background; /* it goes on when its client has left */
    bool gone;       /* its client; the API's lock guards it */
    bool began, failed;
    bool blank; /* no stream, and its answer has begun with blank lines */
    Buf out;    /* for one event, or the whole answer */
    Fault fault;
    Job *next; /* in the list of those under way */
};

/* A job of n choices with the settings of the call: sampling, stop strings, biases. id_prefix:
 * "chatcmpl-". The prompt of each choice is set by the caller. NULL: c->fault says why. */
Job *job_new(Call *c, const Face *face, const char *id_prefix, int64_t n);
/* Most tokens that may follow n_prompt: what was asked for, the context's rest at most. */
bool job_room(Call *c, int64_t n_prompt, int64_t *max_tokens);
/* Sets the choices' prompts to the conversation's ids, and the budget of the thought. */
bool job_talk(Call *c, Job *j, const Talk *t);
/* What stands in p.prompt, a member that is called `param`: up to `most` prompts. */
typedef struct Prompt {
    Ids ids;
    Str text;
} Prompt;
bool prompts_take(Call *c, const char *param, int64_t most, Prompt **out, int64_t *n);
/* The prompt's tokens behind the first are answered too, as those that must come. */
void choice_give(Choice *o, const Prompt *p);
int64_t choice_read(const Choice *c);    /* tokens of its prompt, given ones among them */
int64_t choice_written(const Choice *c); /* those that it answered with */
/* Finds or makes what binds them to the conversation's form; form_leave when the job is over. */
bool job_form(Call *c, Job *j, Talk *t);
void form_bind(Choice *o);                     /* on the engine thread, to which grammars belong */
void form_leave(Api *api, Form *f);            /* NULL is fine */
void forms_forget(Api *api, const Lexicon *l); /* those of a model that goes, which nobody uses */
void forms_close(Api *api);
/* Adds a prompt to the hash that the answer names; once for each that differs. */
void job_prompt(Job *j, const int32_t *ids, int64_t n);
/* Whether one more request may wait; else the fault of a full queue. */
bool job_fits(Call *c);
/* To the engine thread, which owns it from now on; or the fault of a full queue. */
bool job_send(Call *c, Job *j);
/* The engine thread: runs until the API is drained. */
void engine_thread_run(Api *api);

/* ---- searches that a model makes (lookup.c) -------------------------------------------------- */

bool lookups_open(Api *api, Arena *a, Err *err) CHECKED;
void lookups_close(Lookups *l); /* NULL is fine */
/* Where a request asks for them; else *out is NULL. Until j->lookup has it, it is the caller's. */
bool lookup_open(Call *c, Lookup **out);
void lookup_drop(Lookup *l);        /* NULL is fine */
json_t *lookup_messages(Lookup *l); /* the conversation, with what rounds before have added */
/* Offers the tool; choice and name as those of form_tools, for the first round. */
bool lookup_tools(Call *c, const Lookup *l, Talk *t, const char *choice, const char *name);
/* On the engine thread: whether a job that is over goes on with a search, and is away for it; is so
 * still; has come back, with the next round's prompt or a fault. */
bool lookup_send(Job *j), lookup_away(Job *j), lookup_back(Job *j);
Str lookup_said(const Job *j, const char *member); /* texts of the rounds before */
json_t *lookup_delta(const Job *j); /* what stands between them and the next round's */
json_t *lookup_event(const Job *j); /* lisao of the event of a search */
json_t *lookup_json(const Job *j);  /* lisao.searches; NULL: the model makes none */
int64_t lookup_prompt(const Job *j), lookup_cached(const Job *j), lookup_tokens(const Job *j);

/* ---- who is let in ------------------------------------------------------------------------- */

/* The keys of the folder `data`; makes_first: makes one where there is none. */
bool gate_open(Gate **g, Arena *a, const char *data, bool makes_first, Err *err) CHECKED;
void gate_changes(Gate *g, Buf *out);  /* lines on what became of keys since the last time */
void gate_close(Gate *g);              /* all that was used is on the disk; NULL is fine */
const char *gate_first(const Gate *g); /* the key that was made; NULL: none */
void gate_secret(Gate *g, const char *purpose, uint8_t secret[32]); /* of the store; for good */
Keys *gate_keys(Gate *g);
bool gate_enter(Call *c, KeyScope scope);
void gate_refused(const Call *c); /* counts a refusal that is not the request's own fault */
bool gate_lets(Call *c); /* whether the key has something left; else the fault of its limit */
bool gate_admit(Call *c, Job *j);
void gate_leave(Job *j, const Usage *used); /* used NULL: it never began */

/* The thread that heeds SIGHUP. */
typedef struct Keeper Keeper;
bool keeper_open(Keeper **k, Arena *a, Api *api, Err *err) CHECKED;
void keeper_close(Keeper *k); /* NULL is fine */
void api_key_set(Api *api, const char *key);

/* ---- thoughts that clients hold (handle.c) --------------------------------------------------- */

bool handles_open(Api *api, Err *err) CHECKED;
/* What stands for a thought of the job's answer; of the same one always the same. */
json_t *handle_json(const Job *j, Str thought);
/* Sets the message's reasoning_content: what the handle holds, else the text that was sent. Either
 * may be NULL. A handle that is not of this server and tenant, without text, is warned of. */
void thought_put(Call *c, json_t *message, const json_t *handle, json_t *text);

/* ---- streams that are taken up again --------------------------------------------------------- */

Streams *streams_new(Arena *a);
void streams_sweep(Api *api); /* on the engine thread: gives readers what they have room for */
void streams_close(Api *api); /* ends them all */
/* On the engine thread: begins to keep what j sends, where there is room for it (j->kept); an
 * event; the end, with a status that is never freed. */
void kept_begin(Job *j);
void kept_add(Api *api, Kept *s, Str event);
void kept_end(Job *j, const char *status);

/* ---- training runs (training.c) -------------------------------------------------------------- */

bool training_open(Api *api, Arena *a, Err *err) CHECKED; /* of the folder spec->runs */
void training_drain(Api *api);                            /* ends all feeds, and lets in no more */
void training_close(Api *api);                            /* after that, and after HTTP */

/* ---- writing --------------------------------------------------------------------------------- */

void job_event(Job *j, const char *event, json_t *data); /* one SSE event; takes data over */
void job_answer(Job *j, json_t *whole);                  /* the whole answer; takes it over */
const char *finish_reason(const Choice *c);              /* of OpenAI */
int64_t job_tokens(const Job *j);
/* {"index", "id", "type", "function"} of a call's line. */
json_t *call_json(Choice *c, Str line);
/* Takes the first line off *lines. */
Str line_cut(Str *lines);
bool job_gone(Job *j);     /* its client has left */
void job_leave(void *job); /* says so */
json_t *token_json(const Job *j, Token t);
void id_make(char *out, int64_t size, const char *prefix);

/* What an answer can be computed again by: its member `lisao`, and its headers. */
json_t *lisao_json(const Job *j);
json_t *lisao_begun(const Job *j); /* of a stream's first event; NULL: no search was asked for */
json_t *cited_json(Arena *a, const Cited *cited); /* its member `documents` */
void job_heads(Job *j);
/* What the call's p.answer claims; NULL: c->fault says why it cannot be read. */
Verify *verify_new(Call *c);
/* Its lisao.documents and lisao.searches; borrowed, may be NULL. */
const json_t *verify_documents(const Verify *v), *verify_searches(const Verify *v);
/* A job that verifies: its drafts are set; whether its newest token is not the answer's; the report
 * from the answer as it was computed (takes it over). */
void verify_begin(Job *j);
bool verify_differs(const Choice *c);
void verify_token(Choice *c); /* in the engine's callback of a token that came */
json_t *verify_report(Job *j, json_t *computed);
void verify_drop(Verify *v);     /* NULL is fine */
void embedding_token(Choice *c); /* in the engine's callback of a token that came */

const char *type_of(const json_t *o); /* its member "type", or "" */
/* What several faces write: the members that OpenAI's objects begin with; the end of a stream, with
 * the usage where it was asked for (takes it over); a sign of life; a fault in its midst. */
json_t *openai_head(const Job *j, const char *object);
void stream_done(Job *j, json_t *usage);
void stream_alive(Job *j);
void stream_fault(Job *j, const Fault *f);
