/* replay.c -- what an answer can be computed again by: its member `lisao` and its headers. */
#include "serve/api.h"
#include <sodium.h>

/* ---- tokens ---------------------------------------------------------------------------------- */

const char token_types[] = "type Token = {token: string; logprob: number; bytes: integer[]};\n";

json_t *token_json(const Job *j, Token t) {
    const Str s = token_bytes(j->m->bundle->tok, t.id);
    json_t *bytes = json_array(), *text = json_stringn(s.p ? s.p : "", (size_t)s.n);
    for (int64_t i = 0; i < s.n; i++) json_array_append_new(bytes, json_integer((uint8_t)s.p[i]));
    if (!text) { /* a piece of a character */
        Buf b = {.a = j->a};
        text_decode(&b, j->m->bundle->tok, &t.id, 1, false);
        text = json_of(buf_str(&b));
    }
    return json_pack("{s:o, s:f, s:o}", "token", text, "logprob", (double)t.logprob, "bytes",
                     bytes);
}

/* ---- what every answer carries --------------------------------------------------------------- */

const char lisao_types[] =
    "type Lisao = {fingerprint: string; prompt_sha256: string; seed: integer; created: integer;\n"
    "  settings: LisaoSettings; choices: {tokens: integer[]; logprobs_f32: string}[];\n"
    "  documents?: Citation[]; searches?: LisaoSearches};\n"
    "type LisaoSearches = {tools: any[]; messages: any[]; tokens: integer};\n"
    "type LisaoDocuments = {query?: string; documents: Citation[]};\n"
    "type Citation = PassageCitation | WebCitation;\n"
    "type PassageCitation = {n: integer; id: integer; path: string; heading: string;\n"
    "  line: integer};\n"
    "type WebCitation = {n: integer; url: string; title: string; text: string};\n"
    "type LisaoSettings = {temperature: number; top_p: number; top_k: integer; min_p: number;\n"
    "  repetition_penalty: number; presence_penalty: number; frequency_penalty: number;\n"
    "  max_tokens: integer; thinking_budget: integer | null};\n";

void job_prompt(Job *j, const int32_t *ids, int64_t n) {
    if (!j->prompts) sha256_init(j->prompts = PUSH(j->a, Sha256, 1));
    for (int64_t i = 0; i < n; i++) {
        const uint32_t id = (uint32_t)ids[i];
        const uint8_t bytes[] = {(uint8_t)id, (uint8_t)(id >> 8), (uint8_t)(id >> 16),
                                 (uint8_t)(id >> 24)};
        sha256_add(j->prompts, bytes, sizeof bytes);
    }
}

static void prompt_hex(const Job *j, char hex[65]) {
    Sha256 hash = *j->prompts;
    sha256_hex(&hash, hex);
}

static json_t *settings_json(const Job *j) {
    const Ask *r = &j->choice[0].ask;
    const Sampling *s = &r->sampling;
    return json_pack("{s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:I, s:o}", "temperature",
                     (double)s->temperature, "top_p", (double)s->top_p, "top_k",
                     (json_int_t)s->top_k, "min_p", (double)s->min_p, "repetition_penalty",
                     (double)s->repetition_penalty, "presence_penalty", (double)s->presence_penalty,
                     "frequency_penalty", (double)s->frequency_penalty, "max_tokens",
                     (json_int_t)r->max_tokens, "thinking_budget",
                     j->budget < 0 ? json_null() : json_integer(j->budget));
}

const char *f32_base64(Arena *a, const float *v, int64_t n) {
    const size_t bytes = 4 * (size_t)n,
                 room = sodium_base64_encoded_len(bytes, sodium_base64_VARIANT_ORIGINAL);
    uint8_t *raw = PUSH(a, uint8_t, MAX((int64_t)bytes, 1));
    char *text = PUSH(a, char, (int64_t)room);
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < 4; k++) raw[4 * i + k] = (uint8_t)(bits_of_f32(v[i]) >> 8 * k);
    return sodium_bin2base64(text, room, raw, bytes, sodium_base64_VARIANT_ORIGINAL);
}

static json_t *logprobs_json(const Job *j, const Generation *g) {
    float *logprob = PUSH(j->a, float, MAX(g->n, 1));
    for (int64_t i = 0; i < g->n; i++) logprob[i] = g->token[i].logprob;
    return json_string(f32_base64(j->a, logprob, g->n));
}

static json_t *choice_json(const Choice *c) {
    json_t *ids = json_array();
    for (int64_t i = 0; i < c->g.n; i++) json_array_append_new(ids, json_integer(c->g.token[i].id));
    return json_pack("{s:o, s:o}", "tokens", ids, "logprobs_f32", logprobs_json(c->job, &c->g));
}

/* Of a web page, which is another one tomorrow, the text is there, too. */
static json_t *citation_json(Arena *a, const Passage *p, int64_t n, bool web) {
    if (web)
        return json_pack("{s:I, s:o, s:o, s:o}", "n", (json_int_t)n, "url", json_of(p->path),
                         "title", json_of(p->heading), "text", json_of(p->text));
    return json_pack("{s:I, s:I, s:o, s:o, s:I}", "n", (json_int_t)n, "id", (json_int_t)p->id,
                     "path", file_json(a, p->path), "heading", json_of(p->heading), "line",
                     (json_int_t)p->line);
}

json_t *cited_json(Arena *a, const Cited *cited) {
    json_t *all = json_array();
    for (int64_t i = 0; i < cited->n; i++)
        json_array_append_new(all, citation_json(a, &cited->passage[i], i + 1, cited->web));
    return all;
}

json_t *lisao_begun(const Job *j) {
    return j->cited ? json_pack("{s:o}", "documents", cited_json(j->a, j->cited)) : NULL;
}

json_t *lisao_json(const Job *j) {
    char prompt[65];
    prompt_hex(j, prompt);
    json_t *choices = json_array();
    for (int64_t i = 0; i < j->n; i++) json_array_append_new(choices, choice_json(&j->choice[i]));
    json_t *documents = j->cited ? cited_json(j->a, j->cited) : NULL;
    return json_pack("{s:s, s:s, s:I, s:I, s:o, s:o, s:o*}", "fingerprint", j->m->fingerprint,
                     "prompt_sha256", prompt, "seed", (json_int_t)j->seed, "created",
                     (json_int_t)j->created, "settings", settings_json(j), "choices", choices,
                     "documents", documents);
}

void job_heads(Job *j) {
    char prompt[65], seed[24];
    json_t *settings = settings_json(j);
    char *text = json_dumps(settings, JSON_COMPACT);
    prompt_hex(j, prompt);
    snprintf(seed, sizeof seed, "%lld", (long long)j->seed);
    if (*j->m->fingerprint) exchange_head(j->x, "x-lisao-fingerprint", j->m->fingerprint);
    exchange_head(j->x, "x-lisao-prompt-sha256", prompt);
    exchange_head(j->x, "x-lisao-seed", seed);
    exchange_head(j->x, "x-lisao-settings", text ? text : "{}");
    free(text);
    json_decref(settings);
}
