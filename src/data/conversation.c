/* conversation.c -- from a line of JSON to messages, and from messages to tokens.
 *
 * What is learned is found by writing the conversation twice for each turn of the assistant: up to
 * where the turn begins, as the model will read it when it is asked, and up to where it has ended.
 * What the second has further is what the turn is. As long as the second of one turn stands
 * unchanged at the front of the first of the next, both are one document. */
#include "data/conversation.h"

#include <stdio.h>

Tokens tokens_in(Arena *a) {
    return (Tokens){.id = {.a = a}, .learned = {.a = a}, .end = {.a = a}};
}

/* ---- reading --------------------------------------------------------------------------------- */

static const char *const role_names[ROLE_N] = {"system", "user", "assistant", "tool"};

/* Where a line is, for what is wrong with it. */
typedef struct Place {
    const char *path;
    int64_t line;
    Err *err;
} Place;

static bool refuse(const Place *at, size_t message, const char *found, const char *wanted) {
    return err_set(at->err, ERR_FORMAT, "%s, line %lld: message %d %s; expected %s", at->path,
                   (long long)at->line, (int)message + 1, found, wanted);
}

static Str text_of(const json_t *v) {
    return json_is_string(v) ? (Str){json_string_value(v), (int64_t)json_string_length(v)}
                             : (Str){0};
}

static Str cut_front(Str s, const char *set) {
    while (s.n && char_in(s.p[0], set)) s.p++, s.n--;
    return s;
}

/* <think>...</think> at the beginning of what an assistant says becomes its reasoning. */
static bool thought_take(Message *m, const Place *at, size_t number) {
    const Str open = STR("<think>"), close = STR("</think>");
    Str rest = cut_front(m->content, " \t\r\n");
    if (!str_starts(rest, open)) return true;
    rest = (Str){rest.p + open.n, rest.n - open.n};
    for (int64_t i = 0; i + close.n <= rest.n; i++) {
        const Str behind = {rest.p + i, rest.n - i};
        if (!str_starts(behind, close)) continue;
        const Str thought = str_trim((Str){rest.p, i}, "\r\n");
        m->content = cut_front((Str){behind.p + close.n, behind.n - close.n}, " \t\r\n");
        if (thought.n) m->reasoning = thought;
        return true;
    }
    return refuse(at, number, "begins with <think>", "a </think> behind it");
}

static bool role_read(Role *role, const json_t *v, const Place *at, size_t number) {
    const Str name = text_of(v);
    char found[80];
    for (int i = 0; i < ROLE_N; i++)
        if (str_eq(name, str_of(role_names[i]))) return *role = (Role)i, true;
    snprintf(found, sizeof found, v ? "has the role \"%.*s\"" : "has no role", (int)MIN(name.n, 40),
             name.p ? name.p : "");
    return refuse(at, number, found, "a \"role\": system, user, assistant or tool");
}

/* *plain: a Message has all of it. */
static bool message_read(Message *m, bool *plain, const json_t *o, const Place *at, size_t number) {
    const json_t *content = json_object_get(o, "content"),
                 *thought = json_object_get(o, "reasoning_content"),
                 *calls = json_object_get(o, "tool_calls");
    *m = (Message){0};
    if (!json_is_object(o)) return refuse(at, number, "is no object", "{\"role\", \"content\"}");
    if (!role_read(&m->role, json_object_get(o, "role"), at, number)) return false;
    const bool called = m->role == ROLE_ASSISTANT && json_array_size(calls) > 0;
    if (!json_is_string(content) && !(called && (!content || json_is_null(content))))
        return refuse(at, number, content ? "has a \"content\" that is no text" : "has no content",
                      "a \"content\" that is a text");
    if (thought && !json_is_null(thought) && !json_is_string(thought))
        return refuse(at, number, "has a \"reasoning_content\" that is no text", "a text");
    m->content = text_of(content);
    if (text_of(thought).n) m->reasoning = text_of(thought);
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)o, key, v) *plain &=
        !strcmp(key, "role") || !strcmp(key, "content") || !strcmp(key, "reasoning_content")
        || json_is_null(v);
    return m->role != ROLE_ASSISTANT || m->reasoning.n || thought_take(m, at, number);
}

static bool messages_read(Conversation *c, Arena *a, const json_t *list, bool *plain,
                          const Place *at) {
    Message *m = PUSH(a, Message, MAX(c->n, 1));
    bool answers = false;
    for (int64_t i = 0; i < c->n; i++) {
        if (!message_read(&m[i], plain, json_array_get(list, (size_t)i), at, (size_t)i))
            return false;
        m[i].content = str_copy(a, m[i].content);
        if (m[i].reasoning.n) m[i].reasoning = str_copy(a, m[i].reasoning);
        answers |= m[i].role == ROLE_ASSISTANT;
    }
    c->message = m;
    return answers
           || err_set(at->err, ERR_FORMAT,
                      "%s, line %lld: none of its %lld messages is an assistant's; expected one "
                      "to learn",
                      at->path, (long long)at->line, (long long)c->n);
}

static bool conversation_of(Conversation *c, Arena *a, json_t *o, const Place *at) {
    json_t *list = json_object_get(o, "messages"), *tools = json_object_get(o, "tools");
    bool plain = json_array_size(tools) == 0;
    c->n = (int64_t)json_array_size(list);
    if (c->n == 0 || (tools && !json_is_null(tools) && !json_is_array(tools)))
        return err_set(at->err, ERR_FORMAT,
                       "%s, line %lld: %s; expected {\"messages\": [{\"role\", "
                       "\"content\"}, ...], \"tools\": [...] where there are "
                       "some}",
                       at->path, (long long)at->line,
                       c->n ? "its \"tools\" are no list" : "there are no \"messages\" in it");
    if (!messages_read(c, a, list, &plain, at)) return false;
    if (plain) return true;
    c->json = json_object();
    json_object_set(c->json, "messages", list);
    if (json_array_size(tools)) json_object_set(c->json, "tools", tools);
    return true;
}

bool conversation_read(Conversation *c, Arena *a, Str line, const char *path, int64_t number,
                       Err *err) {
    json_error_t e;
    const Place at = {path, number, err};
    *c = (Conversation){0};
    json_t *o = json_loadb(line.p, (size_t)line.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!o)
        return err_set(err, ERR_FORMAT, "%s, line %lld: %s; expected a conversation as JSON", path,
                       (long long)number, e.text);
    const bool ok = conversation_of(c, a, o, &at);
    json_decref(o);
    if (!ok) json_decref(c->json), c->json = NULL;
    return ok;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Words of an answer as the template is to see them: it may know thoughts in the content only. */
static bool shown(Message *out, const Message *m, const Chat *chat, Arena *a, Err *err) {
    *out = *m;
    if (m->role != ROLE_ASSISTANT || !m->reasoning.n || chat->thoughts == THOUGHTS_APART)
        return true;
    if (chat->thoughts == THOUGHTS_NONE)
        return err_set(err, ERR_UNSUPPORTED,
                       "the chat template leaves out what an assistant thinks, so it cannot be "
                       "learned with it");
    out->content =
        str_fmt(a, "<think>\n%.*s\n</think>\n\n%.*s", STRF(m->reasoning), STRF(m->content));
    out->reasoning = (Str){0};
    return true;
}

static void member_set(json_t *o, const char *key, Str s) {
    if (s.n || json_object_get(o, key))
        json_object_set_new(o, key, json_stringn_nocheck(s.p ? s.p : "", (size_t)s.n));
}

/* The first n messages as JSON, with words as the template is to see them. */
static Str request_of(Arena *a, const Conversation *c, const Message *m, int64_t n) {
    json_t *o = json_copy(c->json), *list = json_array();
    for (int64_t i = 0; i < n; i++) {
        const json_t *from = json_array_get(json_object_get(c->json, "messages"), (size_t)i);
        json_t *to = json_copy((json_t *)(uintptr_t)from);
        if (!json_is_null(json_object_get(to, "content"))) member_set(to, "content", m[i].content);
        member_set(to, "reasoning_content", m[i].reasoning);
        json_array_append_new(list, to);
    }
    json_object_set_new(o, "messages", list);
    const size_t bytes = json_dumpb(o, NULL, 0, 0);
    char *p = arena_push(a, (int64_t)bytes + 1);
    json_dumpb(o, p, bytes, 0);
    json_decref(o);
    return (Str){p, (int64_t)bytes};
}

/* What is at work on one conversation. */
typedef struct Writer {
    const Conversation *c;
    const Message *message; /* as the template is to see them */
    const Chat *chat;
    Arena *a, *scratch;
    Ids begin, whole; /* of a turn: up to it, and with it */
    Ids doc;          /* of the turns before, with their marks; empty: a new one begins */
    Buf mark;
} Writer;

static bool encode(Ids *out, const Writer *w, int64_t n, ChatOptions o, Err *err) {
    out->n = 0, o.now = CONVERSATION_DAY;
    if (w->c->json) o.request = request_of(w->a, w->c, w->message, n);
    return chat_encode(out, NULL, w->chat, w->message, n, o, w->scratch, err);
}

static bool stands_before(const Ids *front, const Ids *all) {
    return front->n == 0
           || (front->n <= all->n
               && !memcmp(front->v, all->v, (size_t)front->n * sizeof *front->v));
}

/* Where the turn ends: behind the end token, which templates may follow by a line break. */
static int64_t turn_end(const Writer *w) {
    for (int64_t i = w->whole.n; i > w->begin.n; i--)
        if (w->whole.v[i - 1] == w->chat->end) return i;
    return w->whole.n;
}

static void marks_add(Buf *mark, char learned, int64_t to) {
    while (mark->n < to) buf_add(mark, (Str){&learned, 1});
}

/* What stands behind the last answer has nothing to teach. */
static bool document_put(Tokens *out, Writer *w, Err *err) {
    int64_t n = w->doc.n;
    while (n > 0 && !w->mark.p[n - 1]) n--;
    if (n < 2) return err_set(err, ERR_FORMAT, "the chat template writes nothing to learn");
    for (int64_t i = 0; i < n; i++)
        if (!ids_add(&out->id, w->doc.v[i]))
            return err_set(err, ERR_LIMIT, "the conversations do not fit into memory");
    buf_add(&out->learned, (Str){w->mark.p, n});
    buf_add(&out->end, (Str){(const char *)&out->id.n, 8});
    w->doc.n = w->mark.n = 0;
    return true;
}

/* How the turn begins: as the model is asked where nobody says whether it is to think, else as it
 * is asked for what it did. */
static bool begin_find(Writer *w, int64_t i, Err *err) {
    const Think think[] = {THINK_DEFAULT, w->c->message[i].reasoning.n ? THINK_ON : THINK_OFF};
    for (int64_t k = 0; k < COUNT(think); k++) {
        const ChatOptions o = {.generate = true, .think = think[k]};
        if (!encode(&w->begin, w, i, o, err)) return false;
        if (w->begin.n < w->whole.n && stands_before(&w->begin, &w->whole)) return true;
    }
    return err_set(err, ERR_UNSUPPORTED,
                   "the chat template does not begin a finished answer as it begins one that is "
                   "generated, so it is not known what to learn");
}

static bool turn_put(Tokens *out, Writer *w, int64_t i, Err *err) {
    if (!encode(&w->whole, w, i + 1, (ChatOptions){0}, err) || !begin_find(w, i, err)) return false;
    if (w->doc.n && !stands_before(&w->doc, &w->begin) && !document_put(out, w, err)) return false;
    const Ids doc = w->doc;
    marks_add(&w->mark, 0, w->begin.n);
    marks_add(&w->mark, 1, turn_end(w));
    marks_add(&w->mark, 0, w->whole.n);
    w->doc = w->whole, w->whole = doc;
    return true;
}

bool conversation_put(Tokens *out, const Conversation *c, const Chat *chat, Arena *a,
                      Arena *scratch, Err *err) {
    const Mark mark = arena_mark(a);
    Message *message = PUSH(a, Message, MAX(c->n, 1));
    Writer w = {c, message, chat, a, scratch, {.a = a}, {.a = a}, {.a = a}, {.a = a}};
    bool ok = true;
    for (int64_t i = 0; ok && i < c->n; i++) ok = shown(&message[i], &c->message[i], chat, a, err);
    for (int64_t i = 0; ok && i < c->n; i++)
        if (message[i].role == ROLE_ASSISTANT) ok = turn_put(out, &w, i, err);
    ok = ok && document_put(out, &w, err);
    arena_pop(a, mark);
    return ok;
}
