/* compare.c -- an answer that is computed once more and compared with the one that was given.
 *
 * The answer's own tokens are its drafts: the engine computes them as rows of a prompt, draws at
 * each of these places, and keeps a draft exactly where it is what was drawn. Then the answer is
 * written as its route writes it, and the two are compared member by member. */
#include "serve/api.h"
#include <sodium.h>

/* ---- what is claimed ------------------------------------------------------------------------- */

/* Tokens that an answer says to have. */
typedef struct Claim {
    const int32_t *token; /* (n) */
    int64_t n, n_prompt;
    bool made;
} Claim;

struct Verify {
    json_t *answer; /* owned */
    Claim *claim;   /* (n) */
    int64_t n, n_top;
    bool list, experts;
};

static int64_t claim_propose(void *self, const int32_t *token, int64_t n, int32_t *draft,
                             int64_t most) {
    const Claim *o = self;
    const int64_t at = n - o->n_prompt, count = MAX(MIN(most, o->n - at), 0);
    (void)token;
    if (count) memcpy(draft, o->token + at, (size_t)count * sizeof *draft);
    return count;
}

static void claim_learn(void *self, const int32_t *token, int64_t n, int64_t proposed,
                        int64_t accepted) {
    (void)self, (void)token, (void)n, (void)proposed, (void)accepted;
}

static json_t *lisao_choices(const json_t *answer) {
    return json_object_get(json_object_get(answer, "lisao"), "choices");
}

static bool claim_read(Call *c, Claim *o, const json_t *tokens) {
    const int64_t n = (int64_t)json_array_size(tokens), V = c->m->bundle->model->cfg.V;
    int32_t *ids = PUSH(c->a, int32_t, MAX(n, 1));
    for (int64_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(tokens, (size_t)i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= V)
            return fault_value(&c->fault, "answer",
                               "answer.lisao.choices: token %lld is no id below %lld", (long long)i,
                               (long long)V);
        ids[i] = (int32_t)json_integer_value(v);
    }
    *o = (Claim){.token = ids, .n = n, .made = json_is_array(tokens)};
    return true;
}

/* "logprobs_f32" becomes a list of numbers, so that it is compared as one. */
static bool logprobs_expand(Call *c, json_t *choice) {
    const json_t *v = json_object_get(choice, "logprobs_f32");
    if (!v || json_is_null(v)) return true;
    const char *text = json_string_value(v), *end = NULL;
    const size_t length = json_string_length(v);
    uint8_t *raw = PUSH(c->a, uint8_t, (int64_t)length + 1);
    size_t bytes = 0;
    if (!text
        || sodium_base642bin(raw, length + 1, text, length, NULL, &bytes, &end,
                             sodium_base64_VARIANT_ORIGINAL)
        || end != text + length || bytes % 4)
        return fault_value(&c->fault, "answer",
                           "answer.lisao.choices: logprobs_f32 must be float32, little-endian, in "
                           "base64");
    json_t *list = json_array();
    for (size_t i = 0; i < bytes; i += 4)
        json_array_append_new(
            list, json_real((double)f32_of_bits((uint32_t)raw[i] | (uint32_t)raw[i + 1] << 8
                                                | (uint32_t)raw[i + 2] << 16
                                                | (uint32_t)raw[i + 3] << 24)));
    json_object_set_new(choice, "logprobs_f32", list);
    return true;
}

Verify *verify_new(Call *c) {
    const json_t *choices = lisao_choices(c->p.answer);
    if (c->p.experts && !c->m->bundle->model->cfg.E) {
        fault_value(&c->fault, "experts", "the model has no experts");
        return NULL;
    }
    Verify *v = PUSH(c->a, Verify, 1);
    *v = (Verify){.n = (int64_t)json_array_size(choices),
                  .list = c->p.top_logprobs != NOT_GIVEN || c->p.experts,
                  .experts = c->p.experts,
                  .n_top = (int64_t)MAX(c->p.top_logprobs, 0)};
    v->claim = PUSH(c->a, Claim, MAX(v->n, 1));
    for (int64_t i = 0; i < v->n; i++) {
        json_t *choice = json_array_get(choices, (size_t)i);
        if (!claim_read(c, &v->claim[i], json_object_get(choice, "tokens"))
            || !logprobs_expand(c, choice))
            return NULL;
    }
    v->answer = json_incref(c->p.answer);
    return v;
}

const json_t *verify_documents(const Verify *v) {
    return json_object_get(json_object_get(v->answer, "lisao"), "documents");
}

const json_t *verify_searches(const Verify *v) {
    return json_object_get(json_object_get(v->answer, "lisao"), "searches");
}

void verify_drop(Verify *v) {
    if (v) json_decref(v->answer);
}

void verify_begin(Job *j) {
    const Verify *v = j->verify;
    for (int64_t i = 0; i < j->n; i++) {
        Ask *ask = &j->choice[i].ask;
        ask->n_top = MAX(ask->n_top, v->n_top);
        ask->inside = v->experts ? WANT_EXPERTS : 0;
        j->choice[i].experts.a = j->a;
        if (i >= v->n) continue;
        v->claim[i].n_prompt = ask->n_prompt;
        j->choice[i].drafter = (Drafter){&v->claim[i], claim_propose, claim_learn};
        ask->drafter = &j->choice[i].drafter;
    }
}

void verify_token(Choice *c) {
    const Config *cfg = &c->job->m->bundle->model->cfg;
    const Inside in = engine_inside(c->g.engine);
    const int64_t bytes = cfg->L * cfg->K * (int64_t)sizeof *in.expert;
    if (in.expert) buf_add(&c->experts, (Str){(const char *)in.expert, bytes});
}

static bool claim_holds(const Claim *o, const Generation *g, int64_t i) {
    return !o->made || (i < o->n && o->token[i] == g->token[i].id);
}

bool verify_differs(const Choice *c) {
    const Verify *v = c->job->verify;
    return v && c->index < v->n && c->g.n > 0
           && !claim_holds(&v->claim[c->index], &c->g, c->g.n - 1);
}

/* ---- the comparison -------------------------------------------------------------------------- */

typedef struct Compare {
    Buf path;
    json_t *given, *computed; /* of the first difference; borrowed, may be NULL */
} Compare;

/* Drawn anew for each answer, or of no meaning for its text. */
static bool is_volatile(const char *key) {
    static const char *const names[] = {"id", "call_id", "signature", "encrypted_content"};
    for (int64_t i = 0; i < COUNT(names); i++)
        if (!strcmp(key, names[i])) return true;
    return false;
}

/* Clients write what is not there in many ways; an item without text is none in a stream. */
static bool is_nothing(const json_t *v) {
    static const char *const payload[] = {"text", "thinking", "content"};
    if (!v || json_is_null(v)) return true;
    if (json_is_string(v)) return json_string_length(v) == 0;
    if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++)
            if (!is_nothing(json_array_get(v, i))) return false;
        return true;
    }
    if (!json_is_object(v)) return false;
    if (json_object_size(v) == 0) return true;
    if (!json_object_get(v, "type")) return false;
    for (int64_t i = 0; i < COUNT(payload); i++) {
        const json_t *text = json_object_get(v, payload[i]);
        if (text) return is_nothing(text);
    }
    return false;
}

static bool differ(Compare *x, json_t *given, json_t *computed);

static bool lists_differ(Compare *x, json_t *given, json_t *computed) {
    const int64_t from = x->path.n;
    for (size_t i = 0, k = 0;; i++, k++) {
        while (i < json_array_size(given) && is_nothing(json_array_get(given, i))) i++;
        while (k < json_array_size(computed) && is_nothing(json_array_get(computed, k))) k++;
        json_t *a = json_array_get(given, i), *b = json_array_get(computed, k);
        if (!a && !b) return false;
        buf_fmt(&x->path, "[%lld]", (long long)i);
        if (differ(x, a, b)) return true;
        x->path.n = from;
    }
}

static bool member_differs(Compare *x, const char *key, json_t *given, json_t *computed) {
    const int64_t from = x->path.n;
    buf_fmt(&x->path, from ? ".%s" : "%s", key);
    if (differ(x, given, computed)) return true;
    x->path.n = from;
    return false;
}

/* Members that were not given are not compared; those that should not be there are. */
static bool objects_differ(Compare *x, json_t *given, json_t *computed) {
    const char *key;
    json_t *v;
    json_object_foreach(computed, key, v) {
        json_t *other = json_object_get(given, key);
        if (other && !is_volatile(key) && member_differs(x, key, other, v)) return true;
    }
    json_object_foreach(given, key, v) {
        if (json_object_get(computed, key) || is_volatile(key)) continue;
        if (member_differs(x, key, v, NULL)) return true;
    }
    return false;
}

/* Numbers are compared as what they were, float32. */
static bool differ(Compare *x, json_t *given, json_t *computed) {
    if (is_nothing(given) && is_nothing(computed)) return false;
    if (json_is_integer(given) && json_is_integer(computed)) {
        if (json_integer_value(given) == json_integer_value(computed)) return false;
    } else if (json_is_number(given) && json_is_number(computed)) {
        if ((float)json_number_value(given) == (float)json_number_value(computed)) return false;
    } else if (json_is_array(given) && json_is_array(computed)) {
        return lists_differ(x, given, computed);
    } else if (json_is_object(given) && json_is_object(computed)) {
        return objects_differ(x, given, computed);
    } else if (json_equal(given, computed)) {
        return false;
    }
    x->given = given, x->computed = computed;
    return true;
}

/* The members that depend on tokens, in the order of what says most of a difference. */
static bool answers_differ(Compare *x, json_t *given, json_t *computed) {
    static const char *const compared[] = {"lisao",       "choices",       "content", "output",
                                           "stop_reason", "stop_sequence", "status"};
    for (int64_t i = 0; i < COUNT(compared); i++) {
        json_t *a = json_object_get(given, compared[i]),
               *b = json_object_get(computed, compared[i]);
        if (a && member_differs(x, compared[i], a, b)) return true;
    }
    return false;
}

/* ---- the report ------------------------------------------------------------------------------ */

const char verify_types[] =
    "type Verification = {object: 'verification'; same: boolean;\n"
    "  difference: {at: string; given: any; computed: any} | null; tokens: integer;\n"
    "  same_tokens: integer; choices: VerifiedChoice[]};\n"
    "type VerifiedChoice = {index: integer; same_tokens: integer; tokens?: VerifiedToken[]};\n"
    "type VerifiedToken = {id: integer; token: string; logprob: number; bytes: integer[];\n"
    "  top_logprobs: Alternative[]; experts?: (integer[] | null)[]};\n"
    "type Alternative = {id: integer; token: string; logprob: number; bytes: integer[]};\n";

static json_t *alternative_json(Job *j, Token t) {
    json_t *o = token_json(j, t);
    json_object_set_new(o, "id", json_integer(t.id));
    return o;
}

/* Of token i, for each layer: the experts in the router's order, null for a dense one. */
static json_t *experts_json(const Choice *c, int64_t i) {
    const Config *cfg = &c->job->m->bundle->model->cfg;
    json_t *layers = json_array();
    for (int64_t l = 0; l < cfg->L; l++) {
        json_t *chosen = l < cfg->first_dense ? json_null() : json_array();
        for (int64_t k = 0; l >= cfg->first_dense && k < cfg->K; k++) {
            int32_t id;
            memcpy(&id, c->experts.p + ((i * cfg->L + l) * cfg->K + k) * (int64_t)sizeof id,
                   sizeof id);
            json_array_append_new(chosen, json_integer(id));
        }
        json_array_append_new(layers, chosen);
    }
    return layers;
}

static json_t *tokens_list(Choice *c) {
    Job *j = c->job;
    const int64_t n_top = MIN(j->verify->n_top, j->m->bundle->model->cfg.V);
    json_t *all = json_array();
    for (int64_t i = 0; i < c->g.n; i++) {
        json_t *one = alternative_json(j, c->g.token[i]), *top = json_array();
        for (int64_t k = 0; k < n_top; k++)
            json_array_append_new(top, alternative_json(j, c->g.top[i * c->g.n_top + k]));
        json_object_set_new(one, "top_logprobs", top);
        if (j->verify->experts) json_object_set_new(one, "experts", experts_json(c, i));
        json_array_append_new(all, one);
    }
    return all;
}

/* How many of the first tokens are those that were claimed. */
static int64_t tokens_same(const Choice *c) {
    const Verify *v = c->job->verify;
    int64_t n = 0;
    if (c->index >= v->n || !v->claim[c->index].made) return 0;
    while (n < c->g.n && claim_holds(&v->claim[c->index], &c->g, n)) n++;
    return n;
}

json_t *verify_report(Job *j, json_t *computed) {
    const Verify *v = j->verify;
    Compare x = {.path.a = j->a};
    Call expand = {.a = j->a};
    json_t *choices = json_array(), *all = lisao_choices(computed), *difference = json_null();
    int64_t tokens = 0, same = 0;
    for (size_t i = 0; i < json_array_size(all); i++)
        CHECK(logprobs_expand(&expand, json_array_get(all, i)));
    for (int64_t i = 0; i < j->n; i++) {
        Choice *c = &j->choice[i];
        tokens += c->g.n, same += tokens_same(c);
        json_t *one = json_pack("{s:I, s:I}", "index", (json_int_t)i, "same_tokens",
                                (json_int_t)tokens_same(c));
        if (v->list) json_object_set_new(one, "tokens", tokens_list(c));
        json_array_append_new(choices, one);
    }
    const bool differs = answers_differ(&x, v->answer, computed);
    if (differs)
        difference = json_pack("{s:o, s:O?, s:O?}", "at", json_of(buf_str(&x.path)), "given",
                               x.given, "computed", x.computed);
    json_t *report = json_pack("{s:s, s:b, s:o, s:I, s:I, s:o}", "object", "verification", "same",
                               !differs, "difference", difference, "tokens", (json_int_t)tokens,
                               "same_tokens", (json_int_t)same, "choices", choices);
    json_decref(computed);
    return report;
}
