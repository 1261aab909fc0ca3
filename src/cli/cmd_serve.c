/* cmd_serve.c -- `lisao serve`: a model as a service. */
#include "cli/cli.h"
#include "cli/settings.h"
#include "gen/commit.h"
#include "serve/serve.h"

#include <stdio.h>

typedef struct Options {
    ModelOpts model;
    const char *path; /* of the model, or its name */
    const char *host, *api_key, *key_file, *name, *unix_path, *tls_cert, *tls_key, *data;
    const char *config, *log;
    OptList names;
    int64_t port, context, parallel, queue, connections, prompts_on_disk, history_days;
    double keep_alive;
    bool history, describe, no_keys, no_first_key, no_sandbox;
} Options;
enum { OPTIONS = 40 };

/* How the options came to be, to read their file again. */
typedef struct Settings {
    const Command *command; /* its table leads to `now` */
    Options now, bare;      /* bare: without what the file says */
    bool given[OPTIONS];    /* of the table's, in `bare` */
} Settings;

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
                    .inside = true,
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
    bool keys;  /* are asked for */
    bool quiet; /* standard error is for programs to read */
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
    if (g->quiet) return;
    if (*address == 'h')
        fprintf(stderr, "\nA chat in the browser: %s/%s%s\n", address, first ? "#key=" : "",
                first ? first : "");
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

/* ---- settings -------------------------------------------------------------------------------- */

/* The one key: as it was given, or the first line of a file. NULL: the store's are meant. */
static bool key_find(const char **key, Arena *a, const Options *o, Err *err) {
    enum { MOST = 4096 };
    Str text;
    *key = o->api_key && *o->api_key ? o->api_key : NULL;
    if (!o->key_file) return true;
    if (*key)
        return err_set(err, ERR_USAGE,
                       "there is a key and a file with one: leave out api-key "
                       "(LISAO_API_KEY) or api-key-file");
    if (!os_read(a, &text, o->key_file, MOST, err)) return false;
    const Str line = str_trim(str_cut(&text, '\n'), " \t\r");
    *key = str_copy(a, line).p;
    return line.n || err_set(err, ERR_USAGE, "%s: its first line should be a key", o->key_file);
}

/* The environment and the file, for what the command line leaves open. */
static bool settings_read(Settings *s, Arena *a, Err *err) {
    static const char *const not_there[] = {"config", "describe", NULL};
    if (!settings_from_env(s->command, s->given, err)) return false;
    s->bare = s->now;
    bool given[OPTIONS];
    memcpy(given, s->given, sizeof given);
    return !s->now.config
           || settings_from_file(s->command, given, not_there, a, s->now.config, err);
}

/* The operand is the option --model. */
static bool model_take(Settings *s, int argc, char **argv, Err *err) {
    if (argc > 2)
        return err_set(err, ERR_USAGE, "expected one MODEL, found %d arguments", argc - 1);
    if (argc < 2) return true;
    if (s->now.path) return err_set(err, ERR_USAGE, "MODEL and --model both name one");
    s->now.path = argv[1];
    for (int64_t i = 0; i < s->command->n_opts; i++)
        if (s->command->opts[i].to == &s->now.path) s->given[i] = true;
    return true;
}

static bool settings_check(const Options *o, Err *err) {
    if (!o->path)
        return err_set(err, ERR_USAGE,
                       "expected one MODEL (or `model: MODEL` in the file of --config)");
    return !o->tls_cert == !o->tls_key
           || err_set(err, ERR_USAGE, "tls-cert and tls-key go together: %s is missing",
                      o->tls_cert ? "tls-key" : "tls-cert");
}

/* The same table over other options. */
static void table_move(Opt *to, const Command *c, const Options *from, Options *o) {
    for (int64_t i = 0; i < c->n_opts; i++) {
        to[i] = c->opts[i];
        to[i].to = (char *)o + ((char *)to[i].to - (const char *)from);
    }
}

/* Settings of the file that are others by now than those that the service began with. */
static void settings_compare(Buf *said, const Settings *s, const Opt *now) {
    for (int64_t i = 0; i < s->command->n_opts; i++) {
        Buf was = {.a = said->a}, is = {.a = said->a};
        setting_show(&s->command->opts[i], &was);
        setting_show(&now[i], &is);
        if (str_eq(buf_str(&was), buf_str(&is)) || !strcmp(now[i].name, "api-key")) continue;
        buf_fmt(said, "%s is now \"%.*s\" (was \"%.*s\"): from the next start on\n", now[i].name,
                STRF(buf_str(&is)), STRF(buf_str(&was)));
    }
}

static bool settings_again(void *arg, Arena *a, const char **api_key, Buf *said, Err *err) {
    static const char *const not_there[] = {"config", "describe", NULL};
    const Settings *s = arg;
    Options o = s->bare;
    Opt table[OPTIONS];
    Command c = *s->command;
    bool given[OPTIONS];
    memcpy(given, s->given, sizeof given);
    table_move(table, s->command, &s->now, &o);
    c.opts = table;
    if (o.config && !settings_from_file(&c, given, not_there, a, o.config, err)) return false;
    if (!key_find(api_key, a, &o, err)) return false;
    settings_compare(said, s, table);
    return true;
}

/* Computed prompts of earlier starts, in DATA/prompts. */
static bool prompts_open(Engine *engine, Session *s, const Options *o, Err *err) {
    const char *data = o->data ? o->data : data_folder(s->arena);
    return o->prompts_on_disk == 0
           || engine_store(engine, s->arena, str_fmt(s->arena, "%s/prompts", data).p,
                           o->prompts_on_disk << 20, err);
}

static void prompts_close(Engine *engine, const Options *o) {
    if (o->prompts_on_disk == 0) return;
    engine_keep(engine);
    engine_store_close(engine);
}

/* ---- the service ----------------------------------------------------------------------------- */

static bool run(Settings *settings, Err *err) {
    const Options *o = &settings->now;
    Session s = {0};
    PlanSpec plan;
    Engine *engine = NULL;
    FileStamp stamp = {0};
    const char *key = NULL;
    int socket = 0;
    if (!service_socket(&socket, err)) return false;
    service_notify("STATUS=opening the model");
    bool ok = session_open(&s, o->path, BUNDLE_ALL, &o->model, &plan, err);
    const int64_t positions = ok ? context_bounded(&s, o->context) : 0;
    ok = ok && engine_make(&s, o, &plan, positions, &engine, err)
         && os_stamp(&stamp, s.bundle.path, err) && key_find(&key, s.arena, o, err);
    if (ok) plan_fingerprint(s.plan, s.team);
    if (ok && prompts_open(engine, &s, o, err)) {
        const ServeSpec spec = {.host = o->host,
                                .port = o->port,
                                .unix_path = o->unix_path,
                                .tls_cert = o->tls_cert,
                                .tls_key = o->tls_key,
                                .socket = socket,
                                .api_key = key,
                                .data = o->data,
                                .no_keys = o->no_keys,
                                .no_first_key = o->no_first_key,
                                .no_sandbox = o->no_sandbox,
                                .history = o->history,
                                .history_days = o->history_days,
                                .writes = o->prompts_on_disk > 0,
                                .log = o->log,
                                .reload = settings_again,
                                .reload_arg = settings,
                                .model = model_name(&s, o->name),
                                .context = positions,
                                .connections = o->connections,
                                .queue = o->queue,
                                .alive = o->keep_alive,
                                .names = o->names.v,
                                .n_names = o->names.n,
                                .fingerprint = s.plan->fingerprint,
                                .version = LISAO_VERSION,
                                .created = stamp.modified / 1000000000};
        Greeting g = {spec.model, !o->no_keys, !strcmp(o->log, "json")};
        ok = serve_run(&spec, &s.bundle, engine, greet, &g, err);
        prompts_close(engine, o);
    } else
        ok = false;
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
    Settings s = {.now = {.host = "127.0.0.1",
                          .port = 8080,
                          .context = RUN_CONTEXT,
                          .parallel = 32,
                          .queue = 256,
                          .connections = 4096,
                          .keep_alive = 10,
                          .log = "text"}};
    Options *o = &s.now;
    const Opt opts[] = {
        TEXT_OPT("config", "FILE", &o->config,
                 "Read settings from this YAML file: these options by name, and model: MODEL."),
        TEXT_OPT("model", "MODEL", &o->path, "The same as MODEL."),
        TEXT_OPT("host", "ADDRESS", &o->host, "Listen on this address (default 127.0.0.1)."),
        NUMBER_OPT(OPT_I64, "port", "N", &o->port, "Listen on this port; 0: one that is free.", 0,
                   65535),
        TEXT_OPT(
            "api-key", "KEY", &o->api_key,
            "Let in only who sends this key (default: LISAO_API_KEY; without it those of lisao "
            "keys). Other users of the machine can read it here: prefer the variable."),
        TEXT_OPT("api-key-file", "FILE", &o->key_file,
                 "Let in only who sends the key on the first line of this file."),
        FLAG_OPT("no-keys", &o->no_keys, "Let in everybody on this machine without a key."),
        FLAG_OPT("no-first-key", &o->no_first_key,
                 "Make no key where there is none yet: `lisao keys create` does."),
        TEXT_OPT("data", "DIR", &o->data,
                 "Where keys and what was used are kept (default: ~/.local/share/lisao)."),
        TEXT_OPT("name", "NAME", &o->name,
                 "What answers call the model (default: its file's name)."),
        NUMBER_OPT(OPT_I64, "prompts-on-disk", "MB", &o->prompts_on_disk,
                   "Keep computed prompts in DIR/prompts, also for the next start, at most so "
                   "much; 0: none.",
                   0, 1 << 24),
        FLAG_OPT("history", &o->history,
                 "Keep the page's conversations in DIR/history, for each tenant of keys."),
        NUMBER_OPT(OPT_I64, "history-days", "N", &o->history_days,
                   "With --history: remove conversations that were not written to for so long; 0: "
                   "none.",
                   0, 36500),
        NUMBER_OPT(OPT_I64, "context", "N", &o->context,
                   "Most tokens of a prompt and its answer together.", 16, 1 << 24),
        NUMBER_OPT(OPT_I64, "parallel", "N", &o->parallel, "Answers that are written at once.", 1,
                   512),
        NUMBER_OPT(OPT_I64, "queue", "N", &o->queue, "Requests that may wait; one more is refused.",
                   1, 1 << 16),
        NUMBER_OPT(OPT_I64, "connections", "N", &o->connections, "Most connections.", 8, 1 << 16),
        NUMBER_OPT(OPT_F64, "keep-alive", "SECONDS", &o->keep_alive,
                   "When a stream that has nothing to say sends a comment, and an answer that is "
                   "no stream, from three times as long on, a blank line; 0: never.",
                   0, 3600),
        {OPT_LIST, "allow-host", "NAME", &o->names,
         "A name by which clients may call this server, beside localhost and the address.", 0, 0,
         NULL},
        TEXT_OPT("unix", "PATH", &o->unix_path, "Listen on a Unix socket instead."),
        TEXT_OPT("tls-cert", "FILE", &o->tls_cert, "Certificate (PEM): serve by TLS."),
        TEXT_OPT("tls-key", "FILE", &o->tls_key, "Its key (PEM)."),
        TEXT_OPT("log", "text|json|none", &o->log,
                 "How each request is told on standard error: never what it says."),
        FLAG_OPT("no-sandbox", &o->no_sandbox,
                 "Let the process do what it could before it served: start programs, open "
                 "connections, write anywhere."),
        FLAG_OPT("describe", &o->describe,
                 "Print the routes and what requests may say, as docs/api.md has them, and end."),
        MODEL_OPTS(o->model),
    };
    const Command c = {
        "serve",
        "MODEL",
        "answer requests by the APIs of OpenAI, DeepSeek and Anthropic",
        "Serves the model over HTTP and prints `listening on ADDRESS` once it "
        "answers. The first start makes a key and shows it; lisao keys makes others. "
        "docs/api.md describes the routes. An answer depends on its own request "
        "only: not on who else is served. Each option may come from the environment (LISAO_PORT "
        "for --port) or from a YAML file; the command line wins over both, and the environment "
        "over the file. SIGTERM ends the service once requests under way are answered; SIGHUP has "
        "it read the file and the keys again. docs/deploy.md tells more.",
        "lisao serve SmolLM2-135M-Instruct.Q4_1\n"
        "LISAO_API_KEY=secret lisao serve model.gguf --context 2048 --parallel 8\n",
        opts,
        COUNT(opts)};
    CHECK(c.n_opts <= OPTIONS);
    s.command = &c;
    int code;
    if (!command_start_given(&c, &argc, argv, s.given, &code)) return code;
    Err err = {0};
    if (o->describe) return describe();
    os_catch_interrupt();
    if (!os_is_tty(2)) os_catch_hangup(); /* in a terminal it means that this one is closed */
    Arena *a = arena_open("settings", ARENA_NO_LIMIT);
    const bool ok = model_take(&s, argc, argv, &err) && settings_read(&s, a, &err)
                    && settings_check(o, &err) && run(&s, &err);
    arena_close(a);
    return ok ? 0 : command_failed(&c, &err);
}
