/* cmd_chat.c -- `lisao chat`: a conversation in the terminal, or line by line through a pipe.
 * Ctrl-C stops an answer; at the prompt, twice, and Ctrl-D, it leaves. */
#include "cli/chat.h"
#include "cli/lines.h"

/* ---- the model ------------------------------------------------------------------------------- */

static const char *last_file(Arena *a) { return os_cache_folder(a, "last-model"); }

/* Remembered by its whole path, as another folder may be the working one next time. A cache that
 * cannot be written is no reason to stop. */
static void last_keep(Arena *a, const char *path) {
    const char *folder = os_env("PWD"), *file = last_file(a);
    Err none = {0};
    Str whole = path[0] == '/' || !folder ? str_of(path) : str_fmt(a, "%s/%s", folder, path);
    if (!os_mkdir(os_cache_folder(a, "models"), &none) || !os_put(a, file, whole, &none))
        log_at(LOG_DEBUG, "%s", none.msg);
}

bool chat_model(const char **name, Arena *a, const char *given, Err *err) {
    const char *folder = os_cache_folder(a, "models"), *file = last_file(a);
    Str last, *models, list = {0};
    int64_t n;
    Err none = {0};
    if ((*name = given)) return true;
    if (os_exists(file) && os_read(a, &last, file, 1 << 16, &none) && os_exists(last.p))
        return *name = last.p, true;
    if (!models_list(a, &models, &n, err)) return false;
    if (n == 1) return *name = str_fmt(a, "%s/%.*s", folder, STRF(models[0])).p, true;
    for (int64_t i = 0; i < n; i++)
        list = str_fmt(a, "%.*s%s%.*s", STRF(list), i ? ", " : "", STRF(models[i]));
    if (n > 1) return err_set(err, ERR_USAGE, "which MODEL? There are: %.*s", STRF(list));
    return err_set(err, ERR_USAGE,
                   "expected one MODEL, found none, and there is none in %s: give a GGUF file or a "
                   "folder; ./start fetches a small one",
                   folder);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* A person at the terminal: the editor is there before the model is loaded, so that nothing that
 * is typed meanwhile is lost. */
static void person_open(Conversation *t) {
    t->tty = os_is_tty(0) && os_is_tty(1);
    screen_init(&t->screen);
    if (t->tty) t->editor = editor_open(t->arena, os_cache_folder(t->arena, "chat-history"));
}

bool chat_open(Conversation *t, ChatSetup *o, const char *model, Err *err) {
    PlanSpec plan;
    *t = (Conversation){.setup = o, .arena = arena_open("conversation", ARENA_NO_LIMIT)};
    person_open(t);
    if (!session_open(&t->s, model, BUNDLE_ALL, &o->model, &plan, err)) return false;
    const Recommended *r = &t->s.bundle.recommended;
    if (o->request.temperature < 0 && r->temperature < 0) {
        o->request.temperature = 0.2;
        if (o->request.top_p < 0 && r->top_p < 0) o->request.top_p = 0.9;
    }
    if (o->request.max_tokens == 0) o->request.max_tokens = 1 << 20; /* what the context leaves */
    t->context = context_bounded(&t->s, o->context);
    /* Two pages more: for the end of a conversation that another answer leaves. */
    EngineSpec e = {
        .seqs = 1, .queue = 1, .rows = RUN_ROWS, .pages = round_up(t->context, PAGE) / PAGE + 2};
    session_drafts(&t->s, &e);
    engine_plan(&plan, t->s.bundle.model, &e, t->context, t->s.team);
    if (!session_plan(&t->s, &plan, err)
        || !engine_new(&t->engine, t->s.arena, t->s.plan, &e, t->s.team, err))
        return false;
    last_keep(t->arena, t->s.bundle.path);
    return true;
}

void chat_close(Conversation *t) {
    editor_close(t->editor);
    session_close(&t->s);
    if (t->arena) arena_close(t->arena);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* A message, or a command. False at /exit. */
static bool line_take(Conversation *t, Str line) {
    Err err = {0};
    line = str_trim(line, " \t\r\n");
    if (line.n == 0) return true;
    LineKind kind = command_run(t, line, &err);
    if (kind == LINE_EXIT) return false;
    if (kind == LINE_MESSAGE) {
        t->turns++;
        t->again = 0;
        message_add(t, ROLE_USER, line, (Str){0});
        t->failed += !turn_run(t, &err);
    }
    if (err.code == ERR_NONE) return true;
    screen_line(&t->screen);
    fprintf(stderr, "lisao chat: %s\n", err.msg);
    return true;
}

static bool piped_run(Conversation *t, Err *err) {
    Arena *a = arena_open("line", 4ll * LINE_BYTES);
    Lines l;
    Str line;
    lines_init(&l, a);
    while (!ferror(stdout) && line_next(&l, true, &line, err) == LINE_GOT)
        if (!line_take(t, line) || os_interrupted()) break;
    arena_close(a);
    if (err->code != ERR_NONE) return false;
    if (os_interrupted()) return err_set(err, ERR_INTERRUPTED, "interrupted");
    return !t->failed
           || err_set(err, ERR_FORMAT, "%lld of %lld messages got no answer", (long long)t->failed,
                      (long long)t->turns);
}

/* A line, and as long as one ends with a backslash the next one too. */
static EditResult message_read(Conversation *t, Buf *message) {
    Str line;
    message->n = 0;
    for (const char *prompt = "> ";; prompt = ". ") {
        EditResult r = editor_read(t->editor, prompt, &line);
        if (r != EDIT_LINE) return r;
        bool more = str_ends(line, STR("\\"));
        buf_add(message, (Str){line.p, line.n - more});
        if (!more) return EDIT_LINE;
        buf_add(message, STR("\n"));
    }
}

/* Until Ctrl-D, /exit, or Ctrl-C twice with nothing in between. */
static bool person_run(Conversation *t, Err *err) {
    Buf message = {.a = t->arena};
    bool warned = false;
    while (!ferror(stdout)) {
        putchar('\n');
        EditResult r = message_read(t, &message);
        if (r == EDIT_END || (r == EDIT_INTERRUPTED && warned)) break;
        warned = r == EDIT_INTERRUPTED;
        if (warned) {
            os_interrupt_clear();
            printf("\n(Ctrl-C again, Ctrl-D or /exit leaves)");
        } else if (!line_take(t, buf_str(&message))) {
            return true;
        }
    }
    putchar('\n');
    if (os_interrupted()) return err_set(err, ERR_INTERRUPTED, "interrupted");
    return true;
}

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

bool chat_run(Conversation *t, Err *err) {
    if (!t->tty) return piped_run(t, err);
    screen_note(&t->screen, "%s, %s. /help lists the commands.", name_of(t->s.bundle.path),
                act_name(t->s.plan->spec.act));
    return person_run(t, err);
}

/* ---- the command line ------------------------------------------------------------------------ */

int cmd_chat(int argc, char **argv) {
    ChatSetup o = {.context = RUN_CONTEXT,
                   .full = "slide",
                   .model.drafts = true,
                   .request = {REQUEST_NOT_GIVEN}};
    Opt opts[48] = {
        NUMBER_OPT(OPT_I64, "context", "N", &o.context,
                   "Longest conversation in tokens; its memory is reserved at the start.", 16,
                   1 << 24),
        TEXT_OPT("full", "slide|stop", &o.full,
                 "What a full context does: the model forgets the oldest turns, or refuses the "
                 "next one."),
        NO_MTP_OPT(o.model),
        MODEL_OPTS(o.model),
    };
    int64_t n = 0;
    while (opts[n].name) n++;
    n += request_opts(opts + n, &o.request) - RUN_OPTS;
    const Command c = {
        "chat",
        "[MODEL]",
        "talk with a model in the terminal",
        "Each line is a message, which the model answers; Alt-Enter goes on in the next line, and "
        "what is pasted is one message. Without MODEL it is the one that was used last, or the "
        "only "
        "one in ~/.cache/lisao/models. Ctrl-C stops an answer, /exit or Ctrl-D leaves, /help lists "
        "the commands; other lines that begin with a slash are messages, but for misspelled ones. "
        "An answer that repeats "
        "itself is stopped. Lines from a pipe are answered one after another; if one of them gets "
        "no answer, the exit code is 1.",
        "lisao chat SmolLM2-135M-Instruct.Q4_1 --act a16\nlisao chat model.gguf --system \"Answer "
        "in one "
        "sentence.\"\n",
        opts,
        n};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    Conversation t = {0};
    Arena *a = arena_open("model name", 1 << 24);
    const char *model = NULL;
    os_catch_interrupt();
    bool ok =
        argc <= 2 || err_set(&err, ERR_USAGE, "expected one MODEL, found %d arguments", argc - 1);
    ok = ok && chat_model(&model, a, argc == 2 ? argv[1] : NULL, &err);
    ok = ok && model_pulled(&model, a, model, &err); /* before the editor has the terminal */
    ok = ok && chat_open(&t, &o, model, &err) && chat_run(&t, &err);
    chat_close(&t);
    arena_close(a);
    return ok ? 0 : command_failed(&c, &err);
}
