/* chat_commands.c -- the commands of a chat. A line is a command only where all of it reads as one:
 * "/think on" is, "/think about it" and "/usr/bin" are messages; one that is misspelled is neither.
 */
#include "cli/chat.h"

#include <jansson.h>
#include <stdio.h>

enum { CHAT_BYTES = 1 << 28 };

const char CHAT_COMMANDS[] =
    "/clear             new conversation\n"
    "/regen             another answer to the last message\n"
    "/undo              take the last message and its answer back\n"
    "/think             show the last thought\n"
    "/think on|off|hide reason first, do not, or fold thoughts away\n"
    "/budget N|off      thoughts end after N tokens; low, medium, high: 512, 2048, 8192\n"
    "/system [TEXT]     show or set the system message\n"
    "/save FILE         write the conversation; /load FILE reads it\n"
    "/full slide|stop   a full context forgets the oldest turns, or refuses\n"
    "/stats             tokens, speed, memory\n"
    "/exit              leave (Ctrl-D does, too); Ctrl-C stops an answer\n"
    "Alt-Enter, or a \\ at the end of a line, goes on in the next line.\n";

static void say(Conversation *t, const char *what) {
    screen_line(&t->screen);
    if (t->screen.tty)
        screen_put(&t->screen, str_of(what), false);
    else
        fputs(what, stdout);
    screen_line(&t->screen);
    fflush(stdout);
}

/* ---- files ----------------------------------------------------------------------------------- */

static const char *const role_names[ROLE_N] = {"system", "user", "assistant", "tool"};

static json_t *text_json(Str s) { return json_stringn(s.p ? s.p : "", (size_t)s.n); }

static json_t *message_of(Role role, Str content, Str reasoning) {
    json_t *m = json_pack("{s:s, s:o}", "role", role_names[role], "content", text_json(content));
    if (reasoning.p) json_object_set_new(m, "reasoning_content", text_json(reasoning));
    return m;
}

/* A file of another's is not written over: only one that this chat has saved or loaded. */
static bool save_allowed(const Conversation *t, const char *path, Err *err) {
    if (!os_exists(path) || (t->file && !strcmp(t->file, path))) return true;
    return err_set(err, ERR_USAGE,
                   "saving to %s: there is such a file, and this chat has neither saved nor loaded "
                   "it: give another name, or remove it first",
                   path);
}

static bool chat_save(const Conversation *t, const char *path, Err *err) {
    if (!save_allowed(t, path, err)) return false;
    const char *system = t->setup->request.system;
    json_t *list = json_array();
    if (system) json_array_append_new(list, message_of(ROLE_SYSTEM, str_of(system), (Str){0}));
    for (int64_t i = 0; i < t->n; i++) {
        const Message *m = &t->message[i];
        json_array_append_new(list, message_of(m->role, m->content, m->reasoning));
    }
    json_t *o = json_pack("{s:o}", "messages", list);
    Arena *a = arena_open("save", ARENA_NO_LIMIT);
    size_t n = json_dumpb(o, NULL, 0, JSON_INDENT(1));
    char *p = arena_push(a, (int64_t)n + 1);
    json_dumpb(o, p, n, JSON_INDENT(1));
    p[n] = '\n';
    const bool ok = os_put(a, path, (Str){p, (int64_t)n + 1}, err);
    json_decref(o);
    arena_close(a);
    return ok;
}

static bool message_read(Conversation *t, const json_t *m) {
    const json_t *role = json_object_get(m, "role"), *content = json_object_get(m, "content"),
                 *thought = json_object_get(m, "reasoning_content");
    Str text = {json_string_value(content), (int64_t)json_string_length(content)};
    Str reasoning = {json_string_value(thought), (int64_t)json_string_length(thought)};
    if (!json_is_string(role) || !json_is_string(content)) return false;
    for (int i = 0; i < ROLE_N; i++) {
        if (strcmp(json_string_value(role), role_names[i]) != 0) continue;
        if (i == ROLE_SYSTEM && t->n == 0)
            t->setup->request.system = str_copy(t->arena, text).p;
        else
            message_add(t, (Role)i, text, reasoning);
        return true;
    }
    return false;
}

/* What is wrong with the file leaves the conversation as it was. */
static bool chat_load_file(Conversation *t, const char *path, Err *err) {
    Arena *a = arena_open("load", ARENA_NO_LIMIT);
    Str bytes;
    json_error_t at;
    size_t i;
    json_t *one, *o = NULL;
    Conversation before = *t;
    const char *system = t->setup->request.system;
    bool ok = os_read(a, &bytes, path, CHAT_BYTES, err);
    if (ok && !(o = json_loadb(bytes.p, (size_t)bytes.n, JSON_ALLOW_NUL, &at)))
        ok = err_set(err, ERR_FORMAT, "%s: line %d: %s", path, at.line, at.text);
    const json_t *list = json_object_get(o, "messages");
    if (ok && !json_is_array(list))
        ok = err_set(err, ERR_FORMAT, "%s: is no conversation that /save wrote", path);
    t->n = t->cap = t->seen_from = 0;
    if (ok) t->setup->request.system = NULL;
    json_array_foreach(list, i, one) if (ok && !message_read(t, one)) ok =
        err_set(err, ERR_FORMAT, "%s: message %d has no role or no content", path, (int)i + 1);
    if (!ok) {
        t->message = before.message, t->n = before.n, t->cap = before.cap;
        t->seen_from = before.seen_from;
        t->setup->request.system = system;
    }
    json_decref(o);
    arena_close(a);
    return ok;
}

/* ---- commands -------------------------------------------------------------------------------- */

static LineKind on_clear(Conversation *t, Str arg, Err *err) {
    (void)arg, (void)err;
    t->n = t->seen_from = t->again = 0;
    if (t->tty) screen_note(&t->screen, "(a new conversation)");
    return LINE_COMMAND;
}

static LineKind on_help(Conversation *t, Str arg, Err *err) {
    (void)arg, (void)err;
    say(t, CHAT_COMMANDS);
    return LINE_COMMAND;
}

static LineKind on_exit(Conversation *t, Str arg, Err *err) {
    (void)t, (void)arg, (void)err;
    return LINE_EXIT;
}

/* The last answer goes; false where there is none. */
static bool answer_drop(Conversation *t) {
    if (t->n > 0 && t->message[t->n - 1].role == ROLE_ASSISTANT) t->n--;
    return t->n > 0 && t->message[t->n - 1].role == ROLE_USER;
}

static LineKind on_regen(Conversation *t, Str arg, Err *err) {
    (void)arg;
    int64_t n = t->n;
    if (!answer_drop(t)) {
        t->n = n;
        say(t, "There is no message to answer anew.\n");
        return LINE_COMMAND;
    }
    Message asked = t->message[t->n - 1], old = n > t->n ? t->message[t->n] : (Message){0};
    t->again++;
    if (!turn_run(t, err)) { /* the old answer stays */
        t->message[t->n++] = asked;
        if (n > t->n) t->message[t->n++] = old;
    }
    return LINE_COMMAND;
}

static LineKind on_undo(Conversation *t, Str arg, Err *err) {
    (void)arg, (void)err;
    int64_t n = t->n;
    bool asked = answer_drop(t);
    t->n = asked ? t->n - 1 : n;
    t->again = 0;
    t->seen_from = MIN(t->seen_from, t->n);
    if (!asked)
        say(t, "There is nothing to take back.\n");
    else if (t->tty)
        screen_note(&t->screen, "(taken back; %lld messages are left)", (long long)t->n);
    return LINE_COMMAND;
}

static void last_thought(Conversation *t) {
    for (int64_t i = t->n - 1; i >= 0; i--) {
        if (!t->message[i].reasoning.n) continue;
        screen_put(&t->screen, t->message[i].reasoning, true);
        screen_line(&t->screen);
        return;
    }
    say(t, "There is no thought to show.\n");
}

static LineKind on_think(Conversation *t, Str arg, Err *err) {
    (void)err;
    bool on = str_eq(arg, STR("on")), off = str_eq(arg, STR("off")),
         hide = str_eq(arg, STR("hide"));
    if (arg.n == 0) {
        last_thought(t);
        return LINE_COMMAND;
    }
    if (!on && !off && !hide) return LINE_MESSAGE;
    t->hide = hide;
    if (on || off) t->setup->request.think = on ? "on" : "off";
    if (t->tty)
        screen_note(&t->screen, "%s",
                    hide  ? "(thoughts are folded away; /think shows the last one)"
                    : off ? "(no thoughts from now on, where the model leaves the choice)"
                          : "(thoughts are shown)");
    return LINE_COMMAND;
}

static LineKind on_budget(Conversation *t, Str arg, Err *err) {
    int64_t n;
    const bool off = str_eq(arg, STR("off"));
    if (!off && !thought_budget_read(&n, arg)) return LINE_MESSAGE;
    if (!off && t->s.bundle.chat.thought_end.n == 0) {
        err_set(err, ERR_UNSUPPORTED, "the model's chat template knows no thoughts");
        return LINE_COMMAND;
    }
    t->setup->request.think_budget = off ? NULL : str_copy(t->arena, arg).p;
    if (t->tty && off) screen_note(&t->screen, "(thoughts end where the model ends them)");
    if (t->tty && !off) screen_note(&t->screen, "(thoughts end after %lld tokens)", (long long)n);
    return LINE_COMMAND;
}

static LineKind on_system(Conversation *t, Str arg, Err *err) {
    const char **system = &t->setup->request.system;
    (void)err;
    if (arg.n > 0) *system = str_copy(t->arena, arg).p;
    screen_note(&t->screen, "(system message: %s)",
                *system ? *system : "the one of the model's chat template");
    return LINE_COMMAND;
}

static LineKind on_full(Conversation *t, Str arg, Err *err) {
    (void)err;
    if (!str_eq(arg, STR("slide")) && !str_eq(arg, STR("stop"))) return LINE_MESSAGE;
    t->setup->full = str_copy(t->arena, arg).p;
    return LINE_COMMAND;
}

static LineKind on_save(Conversation *t, Str arg, Err *err) {
    const char *path = str_copy(t->arena, arg).p;
    if (arg.n == 0)
        say(t, "Where to? /save FILE\n");
    else if (chat_save(t, path, err)) {
        t->file = path;
        if (t->tty) screen_note(&t->screen, "(%lld messages are in %s)", (long long)t->n, path);
    }
    return LINE_COMMAND;
}

static LineKind on_load(Conversation *t, Str arg, Err *err) {
    const char *path = str_copy(t->arena, arg).p;
    if (arg.n == 0)
        say(t, "From where? /load FILE\n");
    else if (chat_load_file(t, path, err)) {
        t->file = path;
        if (t->tty) screen_note(&t->screen, "(a conversation of %lld messages)", (long long)t->n);
    }
    return LINE_COMMAND;
}

static LineKind on_stats(Conversation *t, Str arg, Err *err) {
    const TurnStats *s = &t->last;
    char text[512];
    (void)arg, (void)err;
    snprintf(
        text, sizeof text,
        "messages: %lld, of which the model sees %lld\n"
        "last turn: %lld tokens of prompt (%lld from the cache), %lld of answer, context %lld\n"
        "time: first token after %.2f s, then %.1f tokens/s\nmemory: %.0f MB\n",
        (long long)t->n, (long long)(t->n - t->seen_from), (long long)s->prompt,
        (long long)s->cached, (long long)s->generated, (long long)t->context, s->first,
        s->generated > 1 ? (double)(s->generated - 1) / s->decode : 0.0,
        1e-6 * (double)os_memory_now());
    say(t, text);
    return LINE_COMMAND;
}

/* "/" and small letters, no more than a misspelled command may have. */
static bool looks_like_one(Str name) {
    enum { LONGEST = 12 };
    bool letters = name.n > 1 && name.n <= LONGEST && name.p[0] == '/';
    for (int64_t i = 1; letters && i < name.n; i++) letters = name.p[i] >= 'a' && name.p[i] <= 'z';
    return letters;
}

LineKind command_run(Conversation *t, Str line, Err *err) {
    static const struct {
        const char *name;
        bool takes; /* something may follow */
        LineKind (*run)(Conversation *t, Str arg, Err *err);
    } commands[] = {
        {"/clear", false, on_clear},  {"/help", false, on_help},   {"/exit", false, on_exit},
        {"/quit", false, on_exit},    {"/regen", false, on_regen}, {"/undo", false, on_undo},
        {"/stats", false, on_stats},  {"/think", true, on_think},  {"/system", true, on_system},
        {"/budget", true, on_budget}, {"/full", true, on_full},    {"/save", true, on_save},
        {"/load", true, on_load},
    };
    const char *names[COUNT(commands)];
    bool known = false;
    int64_t n = 0;
    while (n < line.n && !char_in(line.p[n], " \t\n")) n++;
    Str name = {line.p, n}, arg = str_trim((Str){line.p + n, line.n - n}, " \t\n");
    for (int64_t i = 0; i < COUNT(commands); i++) {
        names[i] = commands[i].name;
        if (!str_eq(name, str_of(names[i]))) continue;
        if (commands[i].takes || arg.n == 0) return commands[i].run(t, arg, err);
        known = true; /* "/clear the table" is a message */
    }
    if (known || !looks_like_one(name)) return LINE_MESSAGE;
    const char *near = str_nearest(name, names, COUNT(names));
    for (int64_t i = 0; near && i < COUNT(commands); i++)
        if (names[i] == near && (commands[i].takes || arg.n == 0)) {
            err_set(err, ERR_USAGE, "there is no command %.*s; is %s meant?", STRF(name), near);
            return LINE_COMMAND;
        }
    return LINE_MESSAGE;
}
