/* embed.c -- POST /embeddings: a text as a vector, the mean of the hidden states of all its tokens
 * (behind the last layer and the final norm: what the head reads), of length 1.
 *
 * The text is given behind its first token, as for log-probabilities (prompts.c): so each of its
 * rows is computed, whatever the prefix cache knows, and engine_inside has it. The sums are taken
 * in order and in double precision. */
#include "serve/api.h"

#include <math.h>

const Field embeddings_fields[] = {
    MODEL_FIELD,
    {"input", FIELD_JSON, P(prompt), 0, 0,
     "A string, or token ids, or a list of up to 2048 of either.", "{}"},
    {"encoding_format", FIELD_TEXT, P(encoding), 0, 0,
     "float (default), or base64: of float32, little-endian.", NULL},
    {"dimensions", FIELD_INT, P(dimensions), 1, 1 << 24, "Those of the model, no others.", NULL},
    {"user", FIELD_TEXT, P(user), 0, 0, "Users share no cached prompts.", NULL},
};
const int64_t n_embeddings_fields = COUNT(embeddings_fields);
enum { INPUTS_MAX = 2048, AT_ONCE = 16 };

/* ---- what is asked --------------------------------------------------------------------------- */

static const Face embeddings_face;

static bool settings_check(Call *c) {
    const int64_t C = c->m->bundle->model->cfg.C;
    const Str form = c->p.encoding;
    if (form.n && !str_eq(form, STR("float")) && !str_eq(form, STR("base64")))
        return fault_value(&c->fault, "encoding_format",
                           "encoding_format must be float or base64, not '%.*s'", STRF(form));
    if (c->p.dimensions == NOT_GIVEN || c->p.dimensions == (double)C) return true;
    return fault_set(&c->fault, 400, "invalid_request_error", "unsupported_parameter", "dimensions",
                     "dimensions: the model's vectors have %lld, and no others are made",
                     (long long)C);
}

/* The token behind the text is drawn, and is nobody's. */
static bool input_set(Call *c, Choice *o, const Prompt *p) {
    const int64_t C = c->m->bundle->model->cfg.C;
    int64_t most;
    if (!job_room(c, p->ids.n, &most)) return false;
    o->ask.prompt = p->ids.v, o->ask.n_prompt = p->ids.n, o->ask.max_tokens = 1;
    o->ask.plain = true, o->ask.inside = WANT_HIDDEN;
    o->sum = PUSH(c->a, double, C);
    memset(o->sum, 0, (size_t)C * sizeof *o->sum);
    choice_give(o, p);
    return true;
}

static bool embeddings_ask(Call *c) {
    Prompt *input;
    int64_t n;
    if (!members_read(c, embeddings_fields, n_embeddings_fields) || !settings_check(c)
        || !prompts_take(c, "input", INPUTS_MAX, &input, &n))
        return false;
    c->p.seed = c->p.temperature = 0; /* nothing is drawn that counts */
    Job *j = job_new(c, &embeddings_face, "embd-", n);
    if (!j) return false;
    j->most = AT_ONCE;
    j->base64 = str_eq(c->p.encoding, STR("base64"));
    for (int64_t i = 0; i < n; i++) {
        job_prompt(j, input[i].ids.v, input[i].ids.n);
        if (!input_set(c, &j->choice[i], &input[i])) return false;
    }
    return job_send(c, j);
}

void answer_embeddings(Call *c) { embeddings_ask(c); }

/* ---- the answer ------------------------------------------------------------------------------ */

const char embeddings_types[] =
    "type EmbeddingList = {object: 'list'; data: Embedding[]; model: string;\n"
    "  usage: {prompt_tokens: integer; total_tokens: integer}};\n"
    "type Embedding = {object: 'embedding'; index: integer; embedding: number[] | string};\n";

void embedding_token(Choice *c) {
    const int64_t C = c->job->m->bundle->model->cfg.C;
    const float *hidden = engine_inside(c->g.engine).hidden;
    for (int64_t i = 0; i < C; i++) c->sum[i] += (double)hidden[i];
}

/* The mean has the direction of the sum. */
static void unit_put(float *out, const double *sum, int64_t C) {
    double square = 0;
    for (int64_t i = 0; i < C; i++) square += sum[i] * sum[i];
    const double norm = square > 0 ? sqrt(square) : 1;
    for (int64_t i = 0; i < C; i++) out[i] = (float)(sum[i] / norm);
}

/* Nine digits say a float32 exactly. */
static void floats_put(Buf *b, const float *v, int64_t C) {
    for (int64_t i = 0; i < C; i++) buf_fmt(b, "%s%.9g", i ? "," : "[", (double)v[i]);
    buf_add(b, STR("]"));
}

/* Written as bytes: as JSON in memory it would take many times as much. */
static void embeddings_finish(Job *j) {
    const int64_t C = j->m->bundle->model->cfg.C;
    Arena *scratch = arena_open("embeddings", ARENA_NO_LIMIT);
    float *v = PUSH(scratch, float, C);
    int64_t tokens = 0;
    j->out.n = 0;
    buf_add(&j->out, STR("{\"object\":\"list\",\"data\":["));
    for (int64_t i = 0; i < j->n; i++) {
        unit_put(v, j->choice[i].sum, C);
        tokens += choice_read(&j->choice[i]);
        buf_fmt(&j->out, "%s{\"object\":\"embedding\",\"index\":%lld,\"embedding\":", i ? "," : "",
                (long long)i);
        const Mark mark = arena_mark(scratch);
        if (j->base64)
            buf_fmt(&j->out, "\"%s\"", f32_base64(scratch, v, C));
        else
            floats_put(&j->out, v, C);
        arena_pop(scratch, mark);
        buf_add(&j->out, STR("}"));
    }
    json_t *model = json_of(j->model);
    char *name = json_dumps(model, JSON_ENCODE_ANY);
    buf_fmt(&j->out, "],\"model\":%s,\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}}",
            name ? name : "null", (long long)tokens, (long long)tokens);
    free(name);
    json_decref(model);
    arena_close(scratch);
}

static const Face embeddings_face = {.finish = embeddings_finish};
