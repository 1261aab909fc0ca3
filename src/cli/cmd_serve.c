/* cmd_serve.c -- `lisao serve`: a model as a service. */
#include "cli/cli.h"
#include "gen/commit.h"
#include "serve/serve.h"

#include <stdio.h>

typedef struct Options {
    ModelOpts model;
    const char *host, *api_key, *name, *unix_path, *tls_cert, *tls_key, *data;
    OptList names;
    int64_t port, context, parallel, queue, connections;
    bool describe, no_keys;
} Options;

/* DRAFTS: rows of a step for tokens that are given, as evaluations ask for. */
enum { DRAFTS = 256 };

/* Pages for half of the conversations at full length, since few are that long; fewer where memory
 * is short, at least for one. */
static bool engine_make(Session *s, const Options *o, PlanSpec *plan, int64_t positions,
                        Engine **engine, Err *err) {
    const int64_t one = round_up(positions, PAGE) / PAGE;
    EngineSpec e = {.seqs = o->parallel,
                    .queue = o->queue,
                    .rows = MAX(RUN_ROWS, o->parallel),
                    .chunk = RUN_ROWS / 2,
                    .drafts = DRAFTS,
                    .pages = MAX(one, one * o->parallel / 2),
                    .queue_tokens = MAX(positions, o->queue * MIN(positions, QUEUE_PROMPT))};
    for (;; e.pages = MAX(one, e.pages / 2)) {
        Err why = {0};
        engine_plan(plan, s->bundle.model, &e, positions, s->team);
        plan->results = generation_bytes(e.pages * PAGE, 0);
        if (session_plan(s, plan, &why)) break;
        if (e.pages == one) return *err = why, false;
    }
    return engine_new(engine, s->arena, s->plan, &e, s->team, err);
}

typedef struct Greeting {
    const char *model;
    bool keys; /* are asked for */
} Greeting;

static void greet(void *arg, const char *address, const char *first) {
    const Greeting *g = arg;
    const char *header = first     ? " -H 'Authorization: Bearer "
                         : g->keys ? " -H \"Authorization: Bearer $LISAO_API_KEY\""
                                   : "";
    printf("listening on %s\n", address);
    fflush(stdout);
    if (first)
        fprintf(
            stderr,
            "\nThis key was made for you. It is shown now and never again; lisao keys makes and "
            "revokes others.\n\n    %s\n",
            first);
    fprintf(stderr,
            "\n%s, by the APIs of OpenAI, DeepSeek and Anthropic. Try it:\n\n"
            "    curl %s/v1/chat/completions -H 'Content-Type: application/json'%s%s%s -d "
            "'{\"messages\": [{\"role\": \"user\", \"content\": \"What is rain?\"}]}'\n\n"
            "Clients of OpenAI take the base URL %s/v1, those of Anthropic %s. Ctrl-C ends it.\n",
            g->model, address, header, first ? first : "", first ? "'" : "", address, address);
}

/* "models/SmolLM2.gguf" is SmolLM2. */
static const char *model_name(const Session *s, const char *given) {
    Str name = str_of(given ? given : s->bundle.path);
    if (given) return given;
    for (int64_t i = name.n; i > 0; i--)
        if (name.p[i - 1] == '/' && i < name.n) {
            name.p += i, name.n -= i;
            break;
        }
    if (str_ends(name, STR(".gguf"))) name.n -= 5;
    return str_copy(s->arena, name).p;
}

static bool run(const Options *o, const char *name, Err *err) {
    Session s = {0};
    PlanSpec plan;
    Engine *engine = NULL;
    FileStamp stamp = {0};
    bool ok = session_open(&s, name, BUNDLE_ALL, &o->model, &plan, err);
    const int64_t positions = ok ? context_bounded(&s, o->context) : 0;
    ok = ok && engine_make(&s, o, &plan, positions, &engine, err)
         && os_stamp(&stamp, s.bundle.path, err);
    if (ok) {
        plan_fingerprint(s.plan, s.team);
        const char *key = o->api_key ? o->api_key : os_env("LISAO_API_KEY");
        const ServeSpec spec = {.host = o->host,
                                .port = o->port,
                                .unix_path = o->unix_path,
                                .tls_cert = o->tls_cert,
                                .tls_key = o->tls_key,
                                .api_key = key && *key ? key : NULL,
                                .data = o->data,
                                .no_keys = o->no_keys,
                                .model = model_name(&s, o->name),
                                .context = positions,
                                .connections = o->connections,
                                .queue = o->queue,
                                .names = o->names.v,
                                .n_names = o->names.n,
                                .fingerprint = s.plan->fingerprint,
                                .version = LISAO_VERSION,
                                .created = stamp.modified / 1000000000};
        Greeting g = {spec.model, !o->no_keys};
        ok = serve_run(&spec, &s.bundle, engine, greet, &g, err);
    }
    session_close(&s);
    return ok;
}

static int describe(void) {
    Arena *a = arena_open("description", ARENA_NO_LIMIT);
    Buf b = {.a = a};
    serve_describe(&b);
    fwrite(b.p, 1, (size_t)b.n, stdout);
    arena_close(a);
    return 0;
}

int cmd_serve(int argc, char **argv) {
    Options o = {.host = "127.0.0.1",
                 .port = 8080,
                 .context = RUN_CONTEXT,
                 .parallel = 32,
                 .queue = 256,
                 .connections = 4096};
    const Opt opts[] = {
        TEXT_OPT("host", "ADDRESS", &o.host, "Listen on this address (default 127.0.0.1)."),
        NUMBER_OPT(OPT_I64, "port", "N", &o.port, "Listen on this port; 0: one that is free.", 0,
                   65535),
        TEXT_OPT(
            "api-key", "KEY", &o.api_key,
            "Let in only who sends this key (default: LISAO_API_KEY; without it those of lisao "
            "keys). Other users of the machine can read it here: prefer the variable."),
        FLAG_OPT("no-keys", &o.no_keys, "Let in everybody on this machine without a key."),
        TEXT_OPT("data", "DIR", &o.data,
                 "Where keys and what was used are kept (default: ~/.local/share/lisao)."),
        TEXT_OPT("name", "NAME", &o.name,
                 "What answers call the model (default: its file's name)."),
        NUMBER_OPT(OPT_I64, "context", "N", &o.context,
                   "Most tokens of a prompt and its answer together.", 16, 1 << 24),
        NUMBER_OPT(OPT_I64, "parallel", "N", &o.parallel, "Answers that are written at once.", 1,
                   512),
        NUMBER_OPT(OPT_I64, "queue", "N", &o.queue, "Requests that may wait; one more is refused.",
                   1, 1 << 16),
        NUMBER_OPT(OPT_I64, "connections", "N", &o.connections, "Most connections.", 8, 1 << 16),
        {OPT_LIST, "allow-host", "NAME", &o.names,
         "A name by which clients may call this server, beside localhost and the address.", 0, 0,
         NULL},
        TEXT_OPT("unix", "PATH", &o.unix_path, "Listen on a Unix socket instead."),
        TEXT_OPT("tls-cert", "FILE", &o.tls_cert, "Certificate (PEM): serve by TLS."),
        TEXT_OPT("tls-key", "FILE", &o.tls_key, "Its key (PEM)."),
        FLAG_OPT("describe", &o.describe,
                 "Print the routes and what requests may say, as docs/api.md has them, and end."),
        MODEL_OPTS(o.model),
    };
    const Command c = {
        "serve",
        "MODEL",
        "answer requests by the APIs of OpenAI, DeepSeek and Anthropic",
        "Serves the model over HTTP and prints `listening on ADDRESS` once it "
        "answers. The first start makes a key and shows it; lisao keys makes others. "
        "docs/api.md describes the routes. An answer depends on its own request "
        "only: not on who else is served.",
        "lisao serve SmolLM2-135M-Instruct.Q4_1\n"
        "LISAO_API_KEY=secret lisao serve model.gguf --context 2048 --parallel 8\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    if (o.describe) return describe();
    os_catch_interrupt();
    if (argc != 2)
        err_set(&err, ERR_USAGE, "expected one MODEL, found %d arguments", argc - 1);
    else if (run(&o, argv[1], &err))
        return 0;
    return command_failed(&c, &err);
}
