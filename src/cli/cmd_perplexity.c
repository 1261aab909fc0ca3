/* cmd_perplexity.c -- `lisao perplexity`: how well a model predicts a text (score.c). */
#include "cli/score.h"

#include <jansson.h>
#include <stdio.h>

typedef struct Options {
    ModelOpts model;
    Windows windows;
    bool json;
} Options;

static void print_score(const Session *s, const Score *r, const Options *o) {
    const PlanSpec *p = &s->plan->spec;
    const Windows *w = &o->windows;
    if (!o->json) {
        printf("perplexity     %.4f\nbits per byte  %.5f\n", r->perplexity, r->bits_per_byte);
        printf("tokens         %lld, %lld bytes\nwindows        %lld tokens, one every %lld\n",
               (long long)r->tokens, (long long)r->bytes, (long long)w->context,
               (long long)w->stride);
        printf("activations    %s, KV cache %s\n", act_name(p->act), dtype_name(p->kv));
        return;
    }
    json_t *j =
        json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:I, s:I, s:s, s:s}", "model",
                  path_shown(s->arena, s->bundle.path), "tokens", (json_int_t)r->tokens, "bytes",
                  (json_int_t)r->bytes, "nll", r->mean, "perplexity", r->perplexity,
                  "bits_per_byte", r->bits_per_byte, "context", (json_int_t)w->context, "stride",
                  (json_int_t)w->stride, "act", act_name(p->act), "kv", dtype_name(p->kv));
    json_show(j);
}

static bool perplexity(Options *o, const char *model, const char *file, Err *err) {
    Session s = {0};
    PlanSpec spec;
    Score score;
    const bool ok = session_open(&s, model, BUNDLE_MODEL | BUNDLE_TOKENIZER, &o->model, &spec, err)
                    && text_score(&score, &s, &spec, file, &o->windows, err);
    if (ok) print_score(&s, &score, o);
    session_close(&s);
    return ok;
}

int cmd_perplexity(int argc, char **argv) {
    Options o = {0};
    const Opt opts[] = {
        WINDOWS_OPTS(o.windows),
        FLAG_OPT("json", &o.json, "Print one JSON object."),
        MODEL_OPTS(o.model),
    };
    const Command c = {
        "perplexity",
        "MODEL FILE",
        "measure how well a model predicts a text",
        "Prints the perplexity of the text in FILE (- is standard input) and its bits per byte, "
        "which can be compared between models with different tokenizers. Windows of --context "
        "tokens begin every --stride tokens, and each token is scored once, by the first window "
        "that it is in.",
        "lisao perplexity SmolLM2-135M-Instruct.Q4_1 text.txt\n"
        "lisao perplexity model.gguf text.txt --context 64 --stride 64 --json\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    os_catch_interrupt();
    bool ok = argc == 3
              || err_set(&err, ERR_USAGE, "expected one MODEL and one FILE, found %d arguments",
                         argc - 1);
    if (ok && perplexity(&o, argv[1], argv[2], &err)) return 0;
    return command_failed(&c, &err);
}
