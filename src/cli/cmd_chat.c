/* cmd_chat.c -- `lisao chat`: a conversation in the terminal. Each turn is encoded whole; the
 * engine's prefix cache makes only what is new cost anything. Ctrl-C stops an answer; at the
 * prompt, and Ctrl-D, it leaves. */
#include "cli/generation.h"
#include "cli/lines.h"

enum { TURNS_MAX = 1024, ANSWER_MAX = 1024 };
static const char HELP[] =
    "/clear: new conversation. /exit or Ctrl-D: quit. Ctrl-C: stop an answer.";

typedef struct Options {
    ModelOpts model;
    RequestOpts request;
    int64_t context;
} Options;

typedef struct Conversation {
    Session s;
    Engine *engine;
    Arena *arena; /* messages and what was generated */
    Message message[TURNS_MAX];
    int64_t n, context;
    const RequestOpts *opts;
    bool thought;          /* the last that was shown was one */
    bool tty;              /* a person sits at it: both ends are a terminal */
    int64_t turns, failed; /* asked for so far; of these, those that gave no answer */
} Conversation;

static void message_add(Conversation *t, Role role, Str content) {
    t->message[t->n++] = (Message){.role = role, .content = str_copy(t->arena, content)};
}

static void show(void *arg, Str s, bool thought) {
    Conversation *t = arg;
    if (t->thought && !thought) printf("\n\n");
    t->thought = thought;
    fwrite(s.p, 1, (size_t)s.n, stdout);
    fflush(stdout);
}

static void conversation_clear(Conversation *t, const char *system) {
    t->n = 0;
    if (system) message_add(t, ROLE_SYSTEM, str_of(system));
}

/* The user's line and the model's answer; both stay in the conversation unless there was an
 * error. */
static bool turn_run(Conversation *t, Str line, Err *err) {
    if (t->n + 2 > TURNS_MAX)
        return err_set(err, ERR_LIMIT, "the conversation has %d turns: /clear starts a new one",
                       TURNS_MAX);
    message_add(t, ROLE_USER, line);
    Request r = {.opts = *t->opts, .message = t->message, .n_messages = t->n};
    Generation p = {.show = show, .arg = t};
    t->thought = false;
    Err why = {0};
    bool ok = request_encode(&r, t->arena, &t->s.bundle, t->context, &why);
    if (!ok && r.ids.n >= t->context)
        err_set(err, ERR_LIMIT,
                "the conversation has %lld tokens and the context is %lld: /clear starts a new one",
                (long long)r.ids.n, (long long)t->context);
    else if (!ok)
        err_set(err, why.code, "%s", why.msg);
    ok = ok && generation_start(&p, t->arena, &t->s.bundle, t->engine, &r, err)
         && generation_run(&p, err);
    if (ok && p.finish == FINISH_ERROR) ok = generation_void(err);
    if (!ok) {
        t->n--;
        return false;
    }
    printf("\n");
    message_add(t, ROLE_ASSISTANT, buf_str(&p.text));
    t->message[t->n - 1].reasoning = p.splitter.thought ? buf_str(&p.reasoning) : (Str){0};
    if (t->tty) os_interrupt_clear(); /* it stopped the answer; in a pipe it stops the program */
    return true;
}

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static bool conversation_open(Conversation *t, const Options *o, const char *path, Err *err) {
    PlanSpec plan;
    EngineSpec e = {.seqs = 1, .queue = 1, .rows = RUN_ROWS};
    if (!session_open(&t->s, path, BUNDLE_ALL, &o->model, &plan, err)) return false;
    t->context = MIN(o->context, t->s.bundle.model->cfg.max_positions);
    t->opts = &o->request;
    t->arena = arena_open("conversation", ARENA_NO_LIMIT);
    engine_plan(&plan, t->s.bundle.model, &e, t->context, t->s.team);
    return session_plan(&t->s, &plan, err)
           && engine_new(&t->engine, t->s.arena, t->s.plan, &e, t->s.team, err);
}

static void conversation_close(Conversation *t) {
    session_close(&t->s);
    if (t->arena) arena_close(t->arena);
}

/* One line: a command, or a turn. False at /exit. */
static bool line_run(Conversation *t, const Options *o, Str line) {
    Err err = {0};
    while (line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t')) line.p++, line.n--;
    if (line.n == 0) return true;
    if (str_eq(line, STR("/exit"))) return false;
    if (str_eq(line, STR("/clear"))) {
        conversation_clear(t, o->request.system);
    } else if (str_eq(line, STR("/help"))) {
        printf("%s\n", HELP);
    } else {
        t->turns++;
        if (turn_run(t, line, &err)) return true;
        t->failed++;
        fprintf(stderr, "lisao chat: %s\n", err.msg);
    }
    return true;
}

/* Until the end of the input, /exit, or Ctrl-C: in a pipe at once, at the prompt the second
 * time. */
static bool lines_run(Conversation *t, const Options *o, Err *err) {
    Arena *a = arena_open("line", 4ll * LINE_BYTES);
    Lines l;
    Str line;
    lines_init(&l, a);
    bool more = true;
    for (int64_t interrupts = 0; more && interrupts < 2 && !ferror(stdout);) {
        if (t->tty) printf("\n> "), fflush(stdout);
        if (line_next(&l, true, &line, err) == LINE_GOT) {
            interrupts = 0;
            more = line_run(t, o, line) && (t->tty || !os_interrupted());
        } else if (t->tty && os_interrupted()) {
            interrupts++;
            if (interrupts == 2) break;
            os_interrupt_clear();
            printf("\n(Ctrl-C again, Ctrl-D or /exit to quit)");
        } else {
            more = false;
        }
    }
    if (t->tty) printf("\n");
    arena_close(a);
    return err->code == ERR_NONE;
}

/* A person has seen which turns failed; a script learns it from the exit code. */
static bool conversation_run(Conversation *t, const Options *o, Err *err) {
    t->tty = os_is_tty(0) && os_is_tty(1);
    if (t->tty)
        printf("%s, %s\n%s\n", name_of(t->s.bundle.path), act_name(t->s.plan->spec.act), HELP);
    conversation_clear(t, o->request.system);
    if (!lines_run(t, o, err)) return false;
    if (os_interrupted()) return err_set(err, ERR_INTERRUPTED, "interrupted");
    if (t->failed && !t->tty)
        return err_set(err, ERR_FORMAT, "%lld of %lld messages got no answer", (long long)t->failed,
                       (long long)t->turns);
    return true;
}

int cmd_chat(int argc, char **argv) {
    Options o = {.context = RUN_CONTEXT, .request = {REQUEST_NOT_GIVEN, .max_tokens = ANSWER_MAX}};
    Opt opts[48] = {
        NUMBER_OPT(OPT_I64, "context", "N", &o.context,
                   "Longest conversation in tokens; its memory is reserved at the start.", 16,
                   1 << 24),
        MODEL_OPTS(o.model),
    };
    int64_t n = 0;
    while (opts[n].name) n++;
    n += request_opts(opts + n, &o.request) - RUN_OPTS;
    const Command c = {
        "chat",
        "MODEL",
        "talk with a model in the terminal",
        "Each line is a message, which the model answers. /clear starts a new conversation, /exit "
        "or Ctrl-D quits, Ctrl-C stops an answer. Lines from a pipe are answered one after "
        "another; if one of them gets no answer, the exit code is 1.",
        "lisao chat SmolLM2-135M-Instruct.Q4_1 --act a16\nlisao chat model.gguf --system \"Answer "
        "in one "
        "sentence.\"\n",
        opts,
        n};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    Conversation t = {0};
    os_catch_interrupt();
    bool ok = argc == 2
                  ? conversation_open(&t, &o, argv[1], &err)
                  : err_set(&err, ERR_USAGE, "expected one MODEL, found %d arguments", argc - 1);
    ok = ok && conversation_run(&t, &o, &err);
    conversation_close(&t);
    return ok ? 0 : command_failed(&c, &err);
}
