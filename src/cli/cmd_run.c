/* cmd_run.c -- `lisao run`: one prompt, one answer, for people and (with --json) for scripts. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>

typedef struct Options {
    ModelOpts model;
    SamplingOpts sampling;
    const char *prompt, *ids;
    int64_t max_tokens;
    bool raw, json, ignore_end;
} Options;

/* The prompt as token ids: a user's turn in the model's own encoding, text as it is, or the ids
 * given. *in_thought: the encoding has opened the answer's thought. */
static bool prompt_encode(const Options *o, Session *s, Ids *prompt, bool *in_thought, Err *err) {
    const Bundle *b = &s->bundle;
    if (o->ids)
        return ids_parse(s->arena, &prompt->v, &prompt->n, str_of(o->ids), b->model->cfg.V, "--ids",
                         err);
    Arena *scratch = arena_open("encoding", ARENA_NO_LIMIT);
    Str text = str_of(o->prompt);
    Message m = {.role = ROLE_USER, .content = text};
    Buf shown = {.a = scratch};
    ChatOptions options = {.generate = true, .now = os_time()};
    bool ok = o->raw ? text_encode(prompt, b->tok, text, TEXT_PARSED, scratch, err)
                     : chat_encode(prompt, &shown, &b->chat, &m, 1, options, scratch, err);
    *in_thought = !o->raw && chat_opens_thought(buf_str(&shown));
    arena_close(scratch);
    if (ok && prompt->n == 0) ok = err_set(err, ERR_USAGE, "the prompt is empty");
    return ok && bundle_ids_check(b, prompt->v, prompt->n, err);
}

/* The answer may be as long as asked for, or as the model's context leaves room. */
static bool length_set(const Session *s, int64_t n_prompt, int64_t *max_tokens, Err *err) {
    int64_t context = s->bundle.model->cfg.max_positions;
    if (n_prompt >= context)
        return err_set(
            err, ERR_LIMIT,
            "the prompt has %lld tokens and the context of %s is %lld: shorten the prompt",
            (long long)n_prompt, s->bundle.path, (long long)context);
    *max_tokens = MIN(*max_tokens, context - n_prompt);
    return true;
}

static const char *finish_name(Finish f) {
    return f == FINISH_STOP     ? "stop"
           : f == FINISH_LENGTH ? "length"
           : f == FINISH_CANCEL ? "cancel"
                                : "error";
}

static void print_json(const Generation *p, int64_t n_prompt, double load_ms) {
    json_t *ids = json_array(), *logprobs = json_array();
    for (int64_t i = 0; i < p->n; i++) {
        json_array_append_new(ids, json_integer(p->token[i].id));
        json_array_append_new(logprobs, json_real((double)p->token[i].logprob));
    }
    json_t *reasoning =
        p->splitter.thought ? json_stringn(p->reasoning.p, (size_t)p->reasoning.n) : json_null();
    double first = p->n ? p->first : os_now();
    json_t *j = json_pack("{s:o, s:o, s:o, s:o, s:s, s:{s:I, s:I}, s:{s:f, s:f, s:f}}", "text",
                          json_stringn(p->text.p ? p->text.p : "", (size_t)p->text.n), "reasoning",
                          reasoning, "ids", ids, "logprobs", logprobs, "finish_reason",
                          finish_name(p->finish), "usage", "prompt_tokens", (json_int_t)n_prompt,
                          "completion_tokens", (json_int_t)p->n, "timings", "load_ms", load_ms,
                          "prefill_ms", (first - p->start) * 1e3, "decode_ms",
                          p->n ? (p->last - first) * 1e3 : 0.0);
    json_dumpf(j, stdout, JSON_COMPACT);
    printf("\n");
    json_decref(j);
}

/* Ids need no tokenizer: without one there is just no text. */
static bool model_load(Session *s, const Options *o, const char *name, PlanSpec *plan, Err *err) {
    unsigned parts = o->raw ? BUNDLE_MODEL | BUNDLE_TOKENIZER : BUNDLE_ALL;
    if (!session_open(s, name, o->ids ? BUNDLE_MODEL : parts, &o->model, plan, err)) return false;
    Err why = {0};
    if (o->ids && !bundle_load(&s->bundle, BUNDLE_TOKENIZER, &why))
        log_at(LOG_WARN, "there will be ids and no text: %s", why.msg);
    return true;
}

static bool run(const Options *o, const char *name, Err *err) {
    double start = os_now();
    Session s = {0};
    PlanSpec plan;
    Engine *engine = NULL;
    GenerationSpec spec = {.max_tokens = o->max_tokens,
                           .sampling = sampling_of(&o->sampling),
                           .raw = o->raw || o->ids,
                           .ignore_end = o->ignore_end,
                           .quiet = o->json};
    bool ok = model_load(&s, o, name, &plan, err);
    Ids prompt = {.a = s.arena};
    ok = ok && prompt_encode(o, &s, &prompt, &spec.in_thought, err)
         && length_set(&s, prompt.n, &spec.max_tokens, err);
    if (ok) {
        EngineSpec e = {.seqs = 1, .queue = 1, .rows = RUN_ROWS, .no_prefix = true};
        engine_plan(&plan, s.bundle.model, &e, prompt.n + spec.max_tokens, s.team);
        ok = session_plan(&s, &plan, err) && engine_new(&engine, s.arena, s.plan, &e, s.team, err);
    }
    Generation p;
    double load_ms = (os_now() - start) * 1e3;
    ok = ok && generation_run(&p, s.arena, &s, engine, &prompt, &spec, err);
    if (ok && o->json)
        print_json(&p, prompt.n, load_ms);
    else if (ok)
        printf("\n");
    if (ok && p.finish == FINISH_CANCEL) ok = err_set(err, ERR_INTERRUPTED, "interrupted");
    if (ok && p.finish == FINISH_ERROR) ok = generation_void(err);
    session_close(&s);
    return ok;
}

int cmd_run(int argc, char **argv) {
    Options o = {.max_tokens = 1024, .sampling.top_p = 1};
    const Opt opts[] = {
        TEXT_OPT("prompt", "TEXT", &o.prompt,
                 "The user's message; the model sees it in its chat format."),
        FLAG_OPT("raw", &o.raw, "Continue the prompt as plain text, without a chat format."),
        TEXT_OPT("ids", "IDS", &o.ids, "Token ids instead of a prompt: 1,2,3 or a JSON array."),
        NUMBER_OPT(OPT_I64, "max-tokens", "N", &o.max_tokens, "Stop after N generated tokens.", 1,
                   1 << 20),
        SAMPLING_OPTS(o.sampling),
        FLAG_OPT("json", &o.json,
                 "Print one JSON object: text, reasoning, ids, logprobs, finish_reason, "
                 "usage, timings."),
        FLAG_OPT("ignore-end", &o.ignore_end,
                 "Do not stop at the model's end token (for benchmarks)."),
        MODEL_OPTS(o.model),
    };
    const Command c = {
        "run",
        "MODEL --prompt TEXT",
        "answer one prompt",
        "Prints the model's answer as it is generated. MODEL is a GGUF file, a Hugging Face "
        "folder, a checkpoint folder, "
        "or the name of a model in ~/.cache/lisao/models.",
        "lisao run SmolLM2-135M-Instruct.Q4_1 --act a16 --prompt \"What is the capital of "
        "France?\"\n"
        "lisao run model.gguf --raw --prompt \"Once upon a time\" --temperature 0.8 --seed 7\n"
        "lisao run model.gguf --ids 1,2,3 --max-tokens 16 --json\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    os_catch_interrupt();
    if (argc != 2)
        err_set(&err, ERR_USAGE, "expected one MODEL, found %d arguments", argc - 1);
    else if (!o.prompt == !o.ids)
        err_set(&err, ERR_USAGE, "give either --prompt TEXT or --ids 1,2,3");
    else if (run(&o, argv[1], &err))
        return 0;
    return command_failed(&c, &err);
}
