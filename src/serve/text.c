/* text.c -- POST /completions: how a text goes on. With echo and log-probabilities it is what
 * evaluations read the likelihood of a given text from: its prompt is given (prompts.c). */
#include "serve/api.h"

#include <stdio.h>

const Field text_fields[] = {
    MODEL_FIELD,
    {"prompt", FIELD_JSON, P(prompt), 0, 0,
     "A string, or token ids, or a list of up to 16 of either.", "{}"},
    {"suffix", FIELD_TEXT, P(suffix), 0, 0,
     "What follows: the model fills the middle, if it has the tokens for that.", NULL},
    {"stream", FIELD_BOOL, P(stream), 0, 0, "Answer by server-sent events.", NULL},
    {"background", FIELD_BOOL, P(background), 0, 0,
     "With stream: go on when the client leaves; GET /streams/ID takes it up again.", NULL},
    {"stream_options", FIELD_JSON, P(stream_options), 0, 0, "{\"include_usage\": true}", "{}"},
    {"max_tokens", FIELD_INT, P(max_tokens), 0, 1 << 24, "Most tokens of the answer (16).", NULL},
    {"temperature", FIELD_NUMBER, P(temperature), 0, 2, "0: the likeliest token.", NULL},
    {"top_p", FIELD_NUMBER, P(top_p), 0, 1, "Sample among the likeliest that reach it.", NULL},
    {"top_k", FIELD_INT, P(top_k), 0, 1 << 20, "Sample among so many; 0: all.", NULL},
    {"min_p", FIELD_NUMBER, P(min_p), 0, 1, "Least share of the likeliest's probability.", NULL},
    {"frequency_penalty", FIELD_NUMBER, P(frequency_penalty), -2, 2, "Per occurrence.", NULL},
    {"presence_penalty", FIELD_NUMBER, P(presence_penalty), -2, 2, "For any occurrence.", NULL},
    {"repetition_penalty", FIELD_NUMBER, P(repetition_penalty), 0.01, 100, "1: none.", NULL},
    {"seed", FIELD_INT, P(seed), -9007199254740992.0, 9007199254740992.0,
     "Choice i draws by seed + i.", NULL},
    {"n", FIELD_INT, P(n), 1, 8, "Choices of each prompt.", NULL},
    {"stop", FIELD_JSON, P(stop), 0, 0, "A string, or up to 16, that end the answer.", "{}"},
    {"logit_bias", FIELD_JSON, P(logit_bias), 0, 0, "{\"ID\": -100..100}", "{\"type\":\"object\"}"},
    {"logprobs", FIELD_INT, P(text_logprobs), 0, 20,
     "Log-probabilities, with so many likeliest tokens.", NULL},
    {"echo", FIELD_BOOL, P(echo), 0, 0, "The answer begins with the prompt.", NULL},
    {"user", FIELD_TEXT, P(user), 0, 0, "Users share no cached prompts.", NULL},
    {"user_id", FIELD_TEXT, P(user), 0, 0, "The same.", NULL},
    {"ignore_eos", FIELD_BOOL, P(ignore_eos), 0, 0, "Go on until max_tokens.", NULL},
};
const int64_t n_text_fields = COUNT(text_fields);
enum { PROMPTS_MAX = 16, TEXT_TOKENS = 16 };

/* ---- filling the middle ---------------------------------------------------------------------- */

/* Prefix, suffix and middle as the families spell their tokens. */
static const char *const middles[][3] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "begin\xef\xbd\x9c>",
     "<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "hole\xef\xbd\x9c>",
     "<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "end\xef\xbd\x9c>"},
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
};

static bool suffix_add(Call *c, Prompt *p) {
    const Tokenizer *t = c->m->bundle->tok;
    Ids ids = {.a = c->a};
    Err err = {0};
    for (int64_t i = 0; i < COUNT(middles); i++) {
        int32_t tag[3];
        for (int k = 0; k < 3; k++) tag[k] = token_named(t, str_of(middles[i][k]));
        if (tag[0] < 0 || tag[1] < 0 || tag[2] < 0) continue;
        Arena *scratch = arena_open("prompt", ARENA_NO_LIMIT);
        const bool ok =
            ids_add(&ids, tag[0]) && text_encode(&ids, t, p->text, TEXT_PLAIN, scratch, &err)
            && ids_add(&ids, tag[1]) && text_encode(&ids, t, c->p.suffix, TEXT_PLAIN, scratch, &err)
            && ids_add(&ids, tag[2]);
        arena_close(scratch);
        p->ids = ids;
        return ok || fault_err(&c->fault, &err);
    }
    return fault_set(&c->fault, 400, "invalid_request_error", "unsupported_parameter", "suffix",
                     "the model has no tokens for filling the middle of a text");
}

/* ---- what is asked --------------------------------------------------------------------------- */

static bool choice_set(Call *c, Job *j, Choice *o, const Prompt *p) {
    int64_t most;
    if (!job_room(c, p->ids.n, &most)) return false;
    o->ask.prompt = p->ids.v, o->ask.n_prompt = p->ids.n, o->ask.max_tokens = most;
    o->ask.plain = true, o->ask.n_top = j->n_top;
    if (c->p.echo) o->echo = p->text;
    if (c->p.echo && j->logprobs) choice_give(o, p);
    return o->ask.max_tokens > 0
           || fault_value(&c->fault, "max_tokens",
                          "max_tokens: 0 goes with echo and logprobs only");
}

static const Face text_face;

static bool text_ask(Call *c) {
    Prompt *prompt;
    int64_t n;
    if (!members_read(c, text_fields, n_text_fields)
        || !prompts_take(c, "prompt", PROMPTS_MAX, &prompt, &n))
        return false;
    for (int64_t i = 0; c->p.suffix.n && i < n; i++)
        if (!suffix_add(c, &prompt[i])) return false;
    if (c->p.max_tokens == NOT_GIVEN) c->p.max_tokens = TEXT_TOKENS;
    const int64_t each = (int64_t)c->p.n;
    Job *j = job_new(c, &text_face, "cmpl-", n * each);
    if (!j) return false;
    j->logprobs = c->p.text_logprobs != NOT_GIVEN;
    j->n_top = j->logprobs ? (int64_t)c->p.text_logprobs : 0;
    j->usage = json_is_true(json_object_get(c->p.stream_options, "include_usage"));
    for (int64_t i = 0; i < n; i++) job_prompt(j, prompt[i].ids.v, prompt[i].ids.n);
    for (int64_t i = 0; i < j->n; i++)
        if (!choice_set(c, j, &j->choice[i], &prompt[i / each])) return false;
    return job_send(c, j);
}

void answer_text(Call *c) { text_ask(c); }

/* ---- the answer ------------------------------------------------------------------------------ */

const char text_types[] =
    "type Completion = {id: string; object: 'text_completion'; created: integer; model: string;\n"
    "  system_fingerprint: string; choices: CompletionChoice[]; usage: CompletionUsage;\n"
    "  lisao: Lisao};\n"
    "type CompletionChoice = {text: string; index: integer; logprobs: CompletionLogprobs | null;\n"
    "  finish_reason: 'stop' | 'length'};\n"
    "type CompletionLogprobs = {tokens: string[]; token_logprobs: (number | null)[];\n"
    "  top_logprobs: ({[token: string]: number} | null)[]; text_offset: integer[]};\n"
    "type CompletionUsage = {prompt_tokens: integer; completion_tokens: integer;\n"
    "  total_tokens: integer};\n"
    "type CompletionEvent = CompletionChunk | Error;\n"
    "type CompletionChunk = {id: string; object: 'text_completion'; created: integer;\n"
    "  model: string; system_fingerprint: string; choices: CompletionDelta[];\n"
    "  usage?: CompletionUsage; lisao?: Lisao};\n"
    "type CompletionDelta = {text: string; index: integer; logprobs: CompletionLogprobs | null;\n"
    "  finish_reason: 'stop' | 'length' | null};\n";

typedef struct Lists {
    json_t *token, *logprob, *top, *offset;
} Lists;

static Str token_text(const Job *j, int32_t id, Buf *b) {
    b->n = 0;
    text_decode(b, j->m->bundle->tok, &id, 1, false);
    return buf_str(b);
}

/* The same as the name of a member, which readers of JSON take without a NUL only: such a token is
 * named by its bytes, "bytes:\x00", as OpenAI does where a token is no text. */
static Str token_key(const Job *j, int32_t id, Buf *b) {
    const Str s = token_text(j, id, b);
    if (!s.n || !memchr(s.p, 0, (size_t)s.n)) return s;
    Buf bytes = {.a = j->a};
    buf_fmt(&bytes, "bytes:");
    for (int64_t i = 0; i < s.n; i++) buf_fmt(&bytes, "\\x%02x", (unsigned)(uint8_t)s.p[i]);
    return buf_str(&bytes);
}

/* One token; a prompt's first has no log-probability. */
static void lists_add(Lists *l, const Job *j, int32_t id, const Token *t, const Token *top,
                      int64_t offset, Buf *b) {
    json_array_append_new(l->token, json_of(token_text(j, id, b)));
    json_array_append_new(l->logprob, t ? json_real((double)t->logprob) : json_null());
    json_array_append_new(l->offset, json_integer(offset));
    json_t *best = t && j->n_top ? json_object() : json_null();
    for (int64_t k = 0; t && k < MIN(j->n_top, j->m->bundle->model->cfg.V); k++) {
        const Str one = token_key(j, top[k].id, b);
        json_object_setn_new(best, one.p, (size_t)one.n, json_real((double)top[k].logprob));
    }
    json_array_append_new(l->top, best);
}

static int64_t characters(Str utf8) {
    int64_t n = 0;
    for (int64_t i = 0; i < utf8.n; i++) n += ((uint8_t)utf8.p[i] & 0xc0) != 0x80;
    return n;
}

/* Goes behind generated token i, in the answer's text: a special token is not in it, unless it was
 * given, and of a character that several tokens make the first ones have nothing. */
static void offset_pass(Choice *c, int64_t i, Buf *b) {
    b->n = 0;
    c->shown.skip_special = i >= c->ask.given;
    decoder_push(&c->shown, c->g.token[i].id, b);
    c->offset += characters(buf_str(b));
}

/* What of the prompt stands before the generated text: what is forced comes as text by itself. */
static Str text_front(const Choice *c) {
    Buf b = {.a = c->job->a};
    if (!c->budget.self) return c->echo;
    text_decode(&b, c->g.bundle->tok, c->ask.prompt, 1, false);
    return buf_str(&b);
}

static json_t *text_logprobs(Choice *c, int64_t from, int64_t to) {
    Job *j = c->job;
    const Generation *g = &c->g;
    if (!j->logprobs) return json_null();
    Lists l = {json_array(), json_array(), json_array(), json_array()};
    Buf b = {.a = j->a};
    if (c->ended && g->finish == FINISH_STOP && !g->stops.found) to = MIN(to, g->n - 1);
    if (from == 0) decoder_init(&c->shown, j->m->bundle->tok, true), c->offset = 0;
    if (from == 0 && c->budget.self) {
        lists_add(&l, j, c->ask.prompt[0], NULL, NULL, 0, &b);
        c->offset = characters(text_front(c));
    }
    for (int64_t i = from; i < to; i++) {
        lists_add(&l, j, g->token[i].id, &g->token[i], g->top + i * g->n_top, c->offset, &b);
        offset_pass(c, i, &b);
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", l.token, "token_logprobs", l.logprob,
                     "top_logprobs", l.top, "text_offset", l.offset);
}

static const char *text_reason(const Choice *c) {
    return c->g.finish == FINISH_LENGTH ? "length" : "stop";
}

static void text_send(Choice *c, Str text, json_t *logprobs, const char *reason) {
    json_t *o = openai_head(c->job, "text_completion");
    json_object_set_new(o, "choices",
                        json_pack("[{s:o, s:I, s:o, s:s?}]", "text", json_of(text), "index",
                                  (json_int_t)c->index, "logprobs", logprobs, "finish_reason",
                                  reason));
    if (reason && c->index == c->job->n - 1) json_object_set_new(o, "lisao", lisao_json(c->job));
    job_event(c->job, NULL, o);
}

static void text_begin(Job *j) {
    for (int64_t i = 0; i < j->n; i++) {
        const Str front = text_front(&j->choice[i]);
        if (front.n) text_send(&j->choice[i], front, json_null(), NULL);
    }
}

static void text_delta(Choice *c, const Delta *d) {
    text_send(c, d->text, text_logprobs(c, d->from, c->g.n), NULL);
}

static void text_end(Choice *c) { text_send(c, (Str){0}, json_null(), text_reason(c)); }

static json_t *text_usage(const Job *j) {
    int64_t prompt = 0, answer = 0;
    for (int64_t i = 0; i < j->n; i++)
        prompt += choice_read(&j->choice[i]), answer += choice_written(&j->choice[i]);
    return json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)prompt, "completion_tokens",
                     (json_int_t)answer, "total_tokens", (json_int_t)(prompt + answer));
}

static Str whole_text(Choice *c) {
    const Generation *g = &c->g;
    Buf b = {.a = c->job->a};
    buf_add(&b, text_front(c));
    buf_add(&b, buf_str(&g->text));
    return buf_str(&b);
}

static void text_finish(Job *j) {
    json_t *o = openai_head(j, "text_completion"), *choices = json_array();
    for (int64_t i = 0; !j->stream && i < j->n; i++) {
        Choice *c = &j->choice[i];
        json_array_append_new(choices, json_pack("{s:o, s:I, s:o, s:s}", "text",
                                                 json_of(whole_text(c)), "index", (json_int_t)i,
                                                 "logprobs", text_logprobs(c, 0, c->g.n),
                                                 "finish_reason", text_reason(c)));
    }
    json_object_set_new(o, "choices", choices);
    json_object_set_new(o, "usage", text_usage(j));
    if (!j->stream) {
        json_object_set_new(o, "lisao", lisao_json(j));
        job_answer(j, o);
        return;
    }
    stream_done(j, o);
}

static const Face text_face = {.begin = text_begin,
                               .delta = text_delta,
                               .end = text_end,
                               .finish = text_finish,
                               .alive = stream_alive,
                               .fault = stream_fault};
