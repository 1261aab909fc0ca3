/* cmd_run.c -- `lisao run`: one prompt, one answer, for people and (with --json) for scripts. */
#include "cli/generation.h"
#include "cli/lines.h"
#include "cli/run.h"
#include "cli/screen.h"

enum { PROMPT_BYTES = 1 << 28 };

typedef struct Options {
    ModelOpts model;
    RequestOpts request;
    const char *prompt, *prompt_file, *ids;
    int64_t context;
    bool json, jsonl;
} Options;

/* ---- the prompt ------------------------------------------------------------------------------ */

/* Text is what is wanted: UTF-8 without byte 0. A byte order mark is not part of it. */
static bool text_check(Str *s, const char *from, Err *err) {
    if (str_starts(*s, STR("\xef\xbb\xbf"))) s->p += 3, s->n -= 3;
    for (int64_t at = 0; at < s->n;) {
        int n = utf8_length((Str){s->p + at, s->n - at});
        if (n == 0 || s->p[at] == 0)
            return err_set(err, ERR_FORMAT, "reading the prompt from %s: byte %lld is %s", from,
                           (long long)at + 1, n ? "0, which no text has" : "no UTF-8");
        at += n;
    }
    return true;
}

/* From --prompt, --prompt-file, or standard input. A file's last line break is not part of it. */
static bool prompt_take(const Options *o, Arena *a, Str *out, Err *err) {
    bool piped = !o->prompt && !o->prompt_file, dash = o->prompt && !strcmp(o->prompt, "-");
    if (o->prompt && !dash)
        return *out = str_of(o->prompt), text_check(out, "the command line", err);
    if (o->prompt_file ? !os_read(a, out, o->prompt_file, PROMPT_BYTES, err)
                       : !os_read_stdin(a, out, PROMPT_BYTES, err))
        return false;
    if (!text_check(out, o->prompt_file ? o->prompt_file : "standard input", err)) return false;
    if (str_ends(*out, STR("\n"))) out->n--;
    if (str_ends(*out, STR("\r"))) out->n--;
    if (out->n > 0) return true;
    return err_set(err, ERR_USAGE, "the prompt is empty%s",
                   piped ? ": give one, or --prompt-file FILE, or pipe it in" : "");
}

static bool request_make(const Options *o, Session *s, Str prompt, Request *r, Err *err) {
    const Bundle *b = &s->bundle;
    Grammars *grammars = PUSH(s->arena, Grammars, 1);
    grammars->a = s->arena;
    *r = (Request){.opts = o->request, .prompt = prompt, .grammars = grammars};
    return (!o->ids
            || ids_parse(s->arena, &r->ids.v, &r->ids.n, str_of(o->ids), b->model->cfg.V, "--ids",
                         err))
           && request_encode(r, s->arena, b, b->model->cfg.max_positions, err);
}

/* ---- one answer ------------------------------------------------------------------------------ */

typedef struct Reader {
    Screen screen;
    bool thought; /* the last that was shown was one */
} Reader;

/* Thoughts are for a person: a pipe gets the answer only (and with --json everything). */
static void reader_show(void *arg, Str s, bool thought) {
    Reader *r = arg;
    if (thought && !r->screen.tty) return;
    if (r->thought && !thought) {
        screen_line(&r->screen);
        putchar('\n');
    }
    r->thought = thought;
    screen_put(&r->screen, s, thought);
}

static bool one_run(const Options *o, Session *s, Str prompt, PlanSpec *plan, double start,
                    Err *err) {
    Request r;
    Engine *engine = NULL;
    Reader reader = {0};
    Generation g = {.show = o->json ? NULL : reader_show, .arg = &reader};
    screen_init(&reader.screen);
    if (!request_make(o, s, prompt, &r, err)) return false;
    EngineSpec e = {.seqs = 1, .queue = 1, .rows = RUN_ROWS, .no_prefix = true};
    session_drafts(s, &e);
    engine_plan(plan, s->bundle.model, &e, r.ids.n + r.opts.max_tokens, s->team);
    if (!session_plan(s, plan, err) || !engine_new(&engine, s->arena, s->plan, &e, s->team, err))
        return false;
    double load_ms = (os_now() - start) * 1e3;
    if (!request_start(&g, s->arena, &s->bundle, engine, &r, err) || !generation_run(&g, err))
        return false;
    screen_flush(&reader.screen);
    if (o->json)
        object_print(generation_json(&g, load_ms));
    else
        printf("\n");
    if (!o->json && g.reasoning.n > 0 && g.text.n == 0)
        log_at(LOG_WARN, "the answer had not begun: all of it is reasoning (more --max-tokens, a "
                         "--think-budget, or --think off, may help)");
    if (g.finish == FINISH_CANCEL) return err_set(err, ERR_INTERRUPTED, "interrupted");
    return generation_fine(&g, err);
}

/* Ids need no tokenizer: without one there is just no text. Lines may be of every kind: a chat
 * format that is missing is missed when a line needs it. */
static bool model_load(Session *s, const Options *o, const char *name, PlanSpec *plan, Err *no_chat,
                       Err *err) {
    const unsigned raw = BUNDLE_MODEL | BUNDLE_TOKENIZER;
    unsigned parts = o->ids ? BUNDLE_MODEL : o->request.raw || o->jsonl ? raw : BUNDLE_ALL;
    Err why = {0};
    if (!session_open(s, name, parts, &o->model, plan, err)) return false;
    if (o->ids && !bundle_load(&s->bundle, BUNDLE_TOKENIZER, &why))
        log_at(LOG_WARN, "there will be ids and no text: %s", why.msg);
    return !o->jsonl || bundle_load(&s->bundle, BUNDLE_CHAT, no_chat) || no_chat->code != ERR_NONE;
}

static bool run(const Options *o, const char *name, Err *err) {
    double start = os_now();
    Session s = {0};
    PlanSpec plan;
    Err no_chat = {0};
    Str prompt = {0};
    Arena *a = arena_open("prompt", 4ll * PROMPT_BYTES);
    bool ok = o->ids || o->jsonl || prompt_take(o, a, &prompt, err);
    ok = ok && model_load(&s, o, name, &plan, &no_chat, err);
    if (o->jsonl)
        ok = ok && lines_run(&s, &plan, &o->request, &no_chat, o->context, start, err);
    else
        ok = ok && one_run(o, &s, prompt, &plan, start, err);
    session_close(&s);
    arena_close(a);
    return ok;
}

/* ---- the command line ------------------------------------------------------------------------ */

/* One prompt, from one place: MODEL PROMPT, --prompt, --prompt-file, --ids, or standard input. */
static bool prompt_check(Options *o, int operands, char **operand, Err *err) {
    bool named = o->prompt || o->prompt_file || o->ids || o->jsonl;
    if (operands == 2 && named)
        return err_set(err, ERR_USAGE, "give PROMPT or %s, not both",
                       o->prompt        ? "--prompt"
                       : o->prompt_file ? "--prompt-file"
                       : o->ids         ? "--ids"
                                        : "--jsonl");
    if (operands < 1 || operands > 2)
        return err_set(err, ERR_USAGE,
                       "expected one MODEL and one prompt, found %d arguments (a prompt of "
                       "several words stands in quotes)",
                       operands);
    if (!!o->prompt + !!o->prompt_file + !!o->ids + o->jsonl > 1)
        return err_set(err, ERR_USAGE,
                       "give one of --prompt TEXT, --prompt-file FILE, --ids 1,2,3 "
                       "and --jsonl");
    if (operands == 2) o->prompt = operand[1];
    if (o->prompt && !*o->prompt) return err_set(err, ERR_USAGE, "the prompt is empty");
    if (!o->prompt && !named && os_is_tty(0))
        return err_set(err, ERR_USAGE,
                       "there is no prompt: give PROMPT, --prompt-file FILE, --ids 1,2,3, or pipe "
                       "one in; for a conversation there is lisao chat");
    return true;
}

/* An option that would change nothing is a mistake. */
static bool options_check(const Options *o, Err *err) {
    if (o->ids && o->request.system)
        return err_set(err, ERR_USAGE,
                       "--system does not go with --ids: they are the whole prompt");
    if (o->context != RUN_CONTEXT && !o->jsonl)
        return err_set(err, ERR_USAGE, "--context goes with --jsonl");
    if (o->request.top_logprobs && !o->json && !o->jsonl)
        return err_set(err, ERR_USAGE, "--top-logprobs goes with --json or --jsonl");
    return true;
}

int cmd_run(int argc, char **argv) {
    Options o = {.context = RUN_CONTEXT,
                 .model.drafts = true,
                 .request = {REQUEST_NOT_GIVEN, .max_tokens = 1024}};
    Opt opts[48] = {
        TEXT_OPT("prompt", "TEXT", &o.prompt, "The same as PROMPT; - is standard input."),
        TEXT_OPT("prompt-file", "FILE", &o.prompt_file,
                 "Read the prompt from FILE; its last line break is not part of it."),
        TEXT_OPT("ids", "IDS", &o.ids, "Token ids instead of a prompt: 1,2,3 or a JSON array."),
        FLAG_OPT("jsonl", &o.jsonl,
                 "Read requests from standard input, a JSON object a line, and print what --json "
                 "prints for each, in order; all run in one batch. A line has prompt, messages "
                 "(with tools and kwargs, variables of the chat template, if need be) or ids, and "
                 "perhaps settings, called like the options here with _ for -: max_tokens, "
                 "temperature, seed and so on."),
        FLAG_OPT("json", &o.json,
                 "Print one JSON object: text, reasoning, ids, logprobs, finish_reason, "
                 "usage, timings."),
        NUMBER_OPT(OPT_I64, "context", "N", &o.context,
                   "With --jsonl: most tokens of a prompt and its answer together.", 16, 1 << 24),
        NO_MTP_OPT(o.model),
        MODEL_OPTS(o.model),
    };
    int64_t n = 0;
    while (opts[n].name) n++;
    n += request_opts(opts + n, &o.request);
    const Command c = {
        "run",
        "MODEL [PROMPT]",
        "answer a prompt, or many from lines of JSON",
        "Prints the model's answer as it is generated. PROMPT is the user's message, which the "
        "model sees in its chat format; without one it is read from standard input. MODEL is a "
        "GGUF file, a Hugging Face folder, a checkpoint folder, "
        "or the name of a model in ~/.cache/lisao/models.",
        "lisao run SmolLM2-135M-Instruct.Q4_1 --act a16 \"What is the capital of France?\"\n"
        "lisao run model.gguf --raw --prompt \"Once upon a time\" --temperature 0.8 --seed 7\n"
        "lisao run model.gguf --ids 1,2,3 --max-tokens 16 --json\n"
        "echo \"What is rain?\" | lisao run model.gguf --max-tokens 9\n"
        "echo '{\"prompt\": \"Hi\", \"max_tokens\": 9}' | lisao run model.gguf --jsonl\n",
        opts,
        n};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    os_catch_interrupt();
    if (prompt_check(&o, argc - 1, argv + 1, &err) && options_check(&o, &err)
        && run(&o, argv[1], &err))
        return 0;
    return command_failed(&c, &err);
}
