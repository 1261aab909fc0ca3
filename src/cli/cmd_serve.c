/* cmd_serve.c -- `lisao serve`: models as a service. */
#include "cli/fleet.h"
#include "cli/settings.h"
#include "fetch/fetch.h"
#include "gen/commit.h"

#include <stdio.h>

typedef struct Options {
    ModelSettings all;   /* of the one model, or the defaults of several */
    ModelSettings entry; /* the one that is read from the file's list */
    ModelSettings model[FLEET_MOST];
    int64_t n_models; /* as the command line or the file lists them; 0: all.path is the one */
    const char *host, *api_key, *key_file, *unix_path, *tls_cert, *tls_key, *data, *runs;
    const char *config, *log, *web_search;
    OptList names;
    int64_t port, queue, connections, prompts_on_disk, memory, history_days;
    double keep_alive;
    bool history, documents, describe, no_keys, no_first_key, no_sandbox;
} Options;
enum { OPTIONS = 48, ENTRY_OPTIONS = 10 };

/* How the options came to be, to read their file again. */
typedef struct Settings {
    const Command *command; /* its table leads to `now` */
    Options now, bare;      /* bare: without what the file says */
    bool given[OPTIONS];    /* of the table's, in `bare` */
} Settings;

typedef struct Greeting {
    const char *models; /* "a, b" */
    const char *link;   /* `lisao keys link`, with what leads to the store; NULL: there is none */
    const char *kept;   /* where conversations are kept; NULL: in the browser */
    bool indexed;       /* there is an index that answers are not taken from */
    bool keys;          /* are asked for */
    bool chats;         /* the first model has a chat template */
    bool quiet;         /* standard error is for programs to read */
} Greeting;

static void page_tell(const Greeting *g, const char *address, const char *first) {
    fprintf(stderr, "\nA chat in the browser: %s/%s%s\n", address, first ? "#key=" : "",
            first ? first : "");
    if (!first && g->link)
        fprintf(stderr, "A link that signs a browser in, once: %s --url %s\n", g->link, address);
    if (g->kept)
        fprintf(stderr, "Its conversations are kept in %s, for each tenant of keys its own.\n",
                g->kept);
    if (g->indexed)
        fprintf(stderr, "An index of documents is there: --documents lets answers cite them.\n");
}

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
    if (*address == 'h') page_tell(g, address, first);
    fprintf(stderr,
            "\n%s, by the APIs of OpenAI, DeepSeek and Anthropic. Try it:\n\n"
            "    curl %s/v1/%s -H 'Content-Type: application/json'%s%s%s -d '%s'\n\n"
            "Clients of OpenAI take the base URL %s/v1, those of Anthropic %s. Ctrl-C ends it.\n",
            g->models, address, g->chats ? "chat/completions" : "completions", header,
            first ? first : "", first ? "'" : "",
            g->chats ? "{\"messages\": [{\"role\": \"user\", \"content\": \"What is rain?\"}]}"
                     : "{\"prompt\": \"Rain is\", \"max_tokens\": 40}",
            address, address);
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

/* ---- several models -------------------------------------------------------------------------- */

/* What an entry of the file's list may say: the command line's words. */
static int64_t entry_opts(Opt to[ENTRY_OPTIONS], ModelSettings *m) {
    const Opt opts[] = {
        TEXT_OPT("model", "MODEL", &m->path, ""),
        TEXT_OPT("path", "MODEL", &m->path, ""),
        TEXT_OPT("name", "NAME", &m->name, ""),
        TEXT_OPT("idle", "TIME", &m->idle, ""),
        NUMBER_OPT(OPT_I64, "context", "N", &m->context, "", 16, 1 << 24),
        NUMBER_OPT(OPT_I64, "parallel", "N", &m->parallel, "", 1, 512),
        TEXT_OPT("act", "f32|a16|a8", &m->opts.act, ""),
        TEXT_OPT("mla", "expanded|absorbed", &m->opts.mla, ""),
        TEXT_OPT("kv", "f32|bf16", &m->opts.kv, ""),
        FLAG_OPT("no-mtp", &m->opts.no_mtp, ""),
    };
    memcpy(to, opts, sizeof opts);
    return COUNT(opts);
}

static void entry_begin(void *arg) {
    Options *o = arg;
    o->entry = o->all;
    o->entry.path = o->entry.name = NULL;
}

static bool entry_take(void *arg, Err *err) {
    Options *o = arg;
    if (!o->entry.path) return err_set(err, ERR_USAGE, "it lacks model: MODEL");
    if (o->n_models == FLEET_MOST)
        return err_set(err, ERR_USAGE, "there are more than %d models", FLEET_MOST);
    o->model[o->n_models++] = o->entry;
    return true;
}

/* The file, for what is not given. Who names models on the command line or in the environment does
 * not mean those of the file. */
static bool file_read(const Command *c, Options *o, bool *given, Arena *a, Err *err) {
    static const char *const not_there[] = {"config", "describe", NULL};
    Opt opts[ENTRY_OPTIONS];
    const int64_t n = o->n_models;
    const bool named = o->all.path || n;
    const SettingList list = {.name = "models",
                              .opts = opts,
                              .n_opts = entry_opts(opts, &o->entry),
                              .most = FLEET_MOST,
                              .begin = entry_begin,
                              .take = entry_take,
                              .arg = o};
    if (!o->config) return true;
    o->n_models = 0;
    const bool fine = settings_from_file(c, given, not_there, &list, a, o->config, err);
    if (fine && !named && o->n_models && o->all.path)
        return err_set(err, ERR_USAGE, "%s: model and models both name some", o->config);
    if (named) o->n_models = n;
    return fine;
}

static void models_show(const Options *o, Buf *out) {
    ModelSettings m;
    Opt opts[ENTRY_OPTIONS];
    const int64_t n = entry_opts(opts, &m);
    for (int64_t i = 0; i < o->n_models; i++) {
        m = o->model[i];
        for (int64_t k = 1; k < n; k++) {
            buf_add(out, str_of(k > 1 ? " " : i ? "; " : ""));
            setting_show(&opts[k], out);
        }
    }
}

/* Operands that are several: known before the options are, which each of them gets. */
static void operands_fill(Options *o) {
    for (int64_t i = 0; i < o->n_models; i++) {
        const char *path = o->model[i].path;
        o->model[i] = o->all;
        o->model[i].path = path;
    }
}

/* ---- where settings come from ---------------------------------------------------------------- */

/* The environment and the file, for what the command line leaves open. */
static bool settings_read(Settings *s, Arena *a, Err *err) {
    if (!settings_from_env(s->command, s->given, err)) return false;
    if (s->now.n_models && s->now.all.path)
        return err_set(err, ERR_USAGE, "MODEL and --model (LISAO_MODEL) both name some");
    s->bare = s->now;
    bool given[OPTIONS];
    memcpy(given, s->given, sizeof given);
    const bool operands = s->now.n_models;
    if (!file_read(s->command, &s->now, given, a, err)) return false;
    if (operands) operands_fill(&s->now);
    return true;
}

/* One operand is the option --model. */
static bool model_take(Settings *s, int argc, char **argv, Err *err) {
    Options *o = &s->now;
    if (argc < 2) return true;
    if (o->all.path) return err_set(err, ERR_USAGE, "MODEL and --model both name one");
    if (argc - 1 > FLEET_MOST)
        return err_set(err, ERR_USAGE, "there are more than %d models", FLEET_MOST);
    for (int i = 1; argc > 2 && i < argc; i++) o->model[o->n_models++].path = argv[i];
    if (argc > 2) return true;
    o->all.path = argv[1];
    for (int64_t i = 0; i < s->command->n_opts; i++)
        if (s->command->opts[i].to == &o->all.path) s->given[i] = true;
    return true;
}

static bool settings_check(Options *o, Err *err) {
    if (!o->all.path && !o->n_models)
        return err_set(err, ERR_USAGE,
                       "expected one MODEL or several (or `model: MODEL` in the file of --config)");
    if (o->n_models && o->all.name)
        return err_set(err, ERR_USAGE,
                       "--name is for one model; several get theirs in the list of --config");
    if (!o->n_models) o->model[o->n_models++] = o->all;
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

static void models_compare(Buf *said, const Options *was, const Options *is) {
    Buf before = {.a = said->a}, now = {.a = said->a};
    models_show(was, &before), models_show(is, &now);
    if (!str_eq(buf_str(&before), buf_str(&now)))
        buf_fmt(said, "models are others now: from the next start on\n");
}

static bool settings_again(void *arg, Arena *a, const char **api_key, Buf *said, Err *err) {
    const Settings *s = arg;
    Options o = s->bare;
    Opt table[OPTIONS];
    Command c = *s->command;
    bool given[OPTIONS];
    memcpy(given, s->given, sizeof given);
    table_move(table, s->command, &s->now, &o);
    c.opts = table;
    const bool operands = o.n_models;
    if (!file_read(&c, &o, given, a, err)) return false;
    if (!key_find(api_key, a, &o, err)) return false;
    settings_compare(said, s, table);
    if (!operands && s->now.n_models > 1) models_compare(said, &s->now, &o);
    return true;
}

/* ---- the service ----------------------------------------------------------------------------- */

static const char *names_joined(Arena *a, const ServeModel *m, int64_t n) {
    Buf all = {.a = a};
    for (int64_t i = 0; i < n; i++) buf_fmt(&all, "%s%s", i ? ", " : "", m[i].name);
    return all.p;
}

/* Computed prompts, of earlier starts too, are in DATA/prompts. */
static bool models_open(Fleet **fleet, Arena *a, const Options *o, Err *err) {
    const char *data = o->data ? o->data : data_folder(a);
    const FleetSpec spec = {
        .model = o->model,
        .n = o->n_models,
        .queue = o->queue,
        .memory = o->memory * 1000000,
        .prompts = o->prompts_on_disk ? str_fmt(a, "%s/prompts", data).p : NULL,
        .prompt_bytes = o->prompts_on_disk << 20,
        .guests = o->runs != NULL,
    };
    return fleet_open(fleet, a, &spec, err);
}

static bool web_ask(void *arg, Arena *a, Str query, Str *answer, Err *err) {
    return websearch_ask(arg, a, query, answer, err);
}

static bool run(Settings *settings, Arena *a, Err *err) {
    const Options *o = &settings->now;
    Fleet *fleet = NULL;
    WebSearch *web = NULL;
    Helpers *readers = NULL;
    const char *key = NULL;
    int socket = 0;
    if (!service_socket(&socket, err)) return false;
    /* While there is one thread yet. */
    if (o->web_search && !websearch_open(&web, a, o->web_search, err)) return false;
    if (!readers_open(&readers, a, err)) return false;
    service_notify("STATUS=opening the model");
    bool ok = models_open(&fleet, a, o, err) && key_find(&key, a, o, err);
    if (ok) {
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
                                .documents = o->documents,
                                .runs = o->runs,
                                .web = web ? web_ask : NULL,
                                .web_arg = web,
                                .web_most = WEB_SEARCHES,
                                .readers = readers,
                                .writes = o->prompts_on_disk > 0,
                                .log = o->log,
                                .reload = settings_again,
                                .reload_arg = settings,
                                .model = fleet_models(fleet),
                                .n_models = o->n_models,
                                .open = o->runs ? fleet_invite : NULL,
                                .shut = fleet_dismiss,
                                .open_arg = fleet,
                                .memory = o->memory * 1000000,
                                .connections = o->connections,
                                .queue = o->queue,
                                .alive = o->keep_alive,
                                .names = o->names.v,
                                .n_names = o->names.n,
                                .version = LISAO_VERSION};
        const char *data = o->data ? o->data : data_folder(a);
        const bool stored = !key && !o->no_keys;
        const char *link = str_fmt(a, "lisao keys link NAME%s%s", o->data ? " --data " : "",
                                   o->data ? o->data : "")
                               .p;
        Greeting g = {.models = names_joined(a, spec.model, spec.n_models),
                      .link = stored ? link : NULL,
                      .kept = o->history ? str_fmt(a, "%s/history", data).p : NULL,
                      .indexed = !o->documents && os_exists(str_fmt(a, "%s/documents", data).p),
                      .keys = !o->no_keys,
                      .chats = spec.model->bundle->loaded & BUNDLE_CHAT,
                      .quiet = !strcmp(o->log, "json")};
        ok = serve_run(&spec, greet, &g, err);
    }
    fleet_close(fleet);
    websearch_close(web);
    helpers_close(readers);
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
                          .all = {.context = RUN_CONTEXT, .parallel = 32, .opts.drafts = true},
                          .queue = 256,
                          .connections = 4096,
                          .keep_alive = 10,
                          .log = "text"}};
    Options *o = &s.now;
    const Opt opts[] = {
        TEXT_OPT(
            "config", "FILE", &o->config,
            "Read settings from this YAML file: these options by name, model: MODEL, or models: "
            "with a list."),
        TEXT_OPT("model", "MODEL", &o->all.path, "The same as MODEL."),
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
        TEXT_OPT("name", "NAME", &o->all.name,
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
        FLAG_OPT("documents", &o->documents,
                 "Let requests with \"search\": true be answered from the documents that lisao "
                 "index has read into DIR. Whoever has a key may read these documents then."),
        TEXT_OPT("runs", "DIR", &o->runs,
                 "Show the training runs that lie in this folder on the page, as they go on, to "
                 "whoever has a key with the scope train:read."),
        TEXT_OPT("web-search", "URL", &o->web_search,
                 "Let requests with \"search\": \"web\" be answered from what the SearXNG at this "
                 "address finds: https, or http on this machine. The end of their question is sent "
                 "there, and nothing else is ever asked."),
        NUMBER_OPT(OPT_I64, "context", "N", &o->all.context,
                   "Most tokens of a prompt and its answer together.", 16, 1 << 24),
        NUMBER_OPT(OPT_I64, "parallel", "N", &o->all.parallel, "Answers that are written at once.",
                   1, 512),
        TEXT_OPT("idle", "TIME", &o->all.idle,
                 "Give a model's memory back where nobody has asked it for so long: 90s, 10m, 2h "
                 "(default: never)."),
        NUMBER_OPT(OPT_I64, "memory", "MB", &o->memory,
                   "Most memory of all models that are loaded at a time; 0: what the machine has.",
                   0, 1 << 24),
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
        NO_MTP_OPT(o->all.opts),
        MODEL_OPTS(o->all.opts),
    };
    const Command c = {
        "serve",
        "MODEL...",
        "answer requests by the APIs of OpenAI, DeepSeek and Anthropic",
        "Serves models over HTTP and prints `listening on ADDRESS` once it "
        "answers. A request names one of several by `model`; each is loaded when it is first "
        "asked, "
        "and unloaded where another needs its memory. The first start makes a key and shows it; "
        "lisao keys makes others. "
        "docs/api.md describes the routes. An answer depends on its own request "
        "only: not on who else is served. Each option may come from the environment (LISAO_PORT "
        "for --port) or from a YAML file; the command line wins over both, and the environment "
        "over the file. SIGTERM ends the service once requests under way are answered; SIGHUP has "
        "it read the file and the keys again. docs/deploy.md tells more.",
        "lisao serve SmolLM2-135M-Instruct.Q4_1\n"
        "lisao serve small.gguf large.gguf --idle 10m\n"
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
                    && settings_check(o, &err) && run(&s, a, &err);
    arena_close(a);
    return ok ? 0 : command_failed(&c, &err);
}
