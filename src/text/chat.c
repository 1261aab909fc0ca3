/* chat.c -- conversations -> text -> ids, by the model's own chat template.
 *
 * Invariant: a special token comes only from characters that the template wrote. Between two of
 * them template and messages are encoded as one text, so that words merge across the seam as they
 * do in Hugging Face, and no message can forge a turn. */
#include "text/jinja.h"
#include "text/tokenizer.h"

static const char *const role_names[ROLE_N] = {"system", "user", "assistant", "tool"};

/* ---- variables ------------------------------------------------------------------------------- */

static void member(Jinja *j, Value dict, const char *name, Value v) {
    Value key = value_text(text_copy(j, str_of(name), BY_TEMPLATE));
    if (!j->failed) dict_put(j, dict.dict, key, v);
}

static Value said(Jinja *j, Str s) { return value_text(text_copy(j, s, BY_MESSAGE)); }

static Value messages_value(Jinja *j, const Message *m, int64_t n) {
    Value list = value_list(j, n, false);
    for (int64_t i = 0; i < n && !j->failed; i++) {
        CHECK(m[i].role >= 0 && m[i].role < ROLE_N);
        Value v = value_dict(j, 4, VALUE_DICT);
        member(j, v, "role", said(j, str_of(role_names[m[i].role])));
        member(j, v, "content", said(j, m[i].content));
        if (m[i].reasoning.p) member(j, v, "reasoning_content", said(j, m[i].reasoning));
        if (!j->failed) list_add(j, list.list, v);
    }
    return list;
}

/* The members of a request that is JSON: messages, tools, and whatever else the template knows. */
static void request_set(Jinja *j, Str request) {
    Value v;
    if (!value_of_json(j, &v, request, "the conversation")) return;
    if (v.kind != VALUE_DICT) {
        jinja_fail(j, "the conversation must be a JSON object with messages");
        return;
    }
    for (int64_t i = 0; i < v.dict->n && !j->failed; i++)
        name_set(j, text_str(v.dict->key[i].s), v.dict->value[i]);
}

static bool render(Text *out, const Chat *c, const Message *m, int64_t n, const ChatOptions *o,
                   Arena *a, Err *err) {
    Jinja j;
    Scope root;
    jinja_init(&j, &root, a, "the chat template", o->now, err);
    name_set(&j, STR("bos_token"), value_text(text_copy(&j, c->bos, BY_TEMPLATE)));
    name_set(&j, STR("eos_token"), value_text(text_copy(&j, c->eos, BY_TEMPLATE)));
    name_set(&j, STR("tools"), value_none());
    name_set(&j, STR("documents"), value_none());
    name_set(&j, STR("add_generation_prompt"), value_bool(o->generate));
    if (o->think) { /* Qwen and GLM; DeepSeek */
        name_set(&j, STR("enable_thinking"), value_bool(o->think == THINK_ON));
        name_set(&j, STR("thinking"), value_bool(o->think == THINK_ON));
    }
    if (o->request.n)
        request_set(&j, o->request);
    else if (!j.failed)
        name_set(&j, STR("messages"), messages_value(&j, m, n));
    return jinja_run(&j, out, c->tree);
}

/* ---- what the template does ------------------------------------------------------------------ */

/* The special token that stands right behind the assistant's words in a finished conversation (a
 * blank or a line break may come between), or -1. */
static int32_t end_find(const Chat *c, Text s, Str words) {
    static const uint8_t by_template = BY_TEMPLATE;
    Text mark = {words.p, &by_template, words.n};
    int64_t at = text_find(s, mark, 0), n;
    if (at < 0) return -1;
    at += words.n;
    while (at < s.n && is_space(s, at, &n)) at += n;
    int32_t id = -1;
    int64_t length = trie_longest(&c->t->raw, (Str){s.p + at, s.n - at}, &id);
    if (length == 0) length = trie_longest(&c->t->normal, (Str){s.p + at, s.n - at}, &id);
    return length ? id : -1;
}

/* Whether the template writes what this assistant thought. */
static bool thought_written(const Chat *c, Message said, Arena *scratch) {
    static const uint8_t by_template = BY_TEMPLATE;
    const Message m[] = {{.role = ROLE_USER, .content = STR("Hi.")}, said};
    Err err = {0};
    Text s;
    return render(&s, c, m, 2, &(ChatOptions){0}, scratch, &err)
           && text_find(s, (Text){"Pondering.", &by_template, 10}, 0) >= 0;
}

/* Renders short conversations to see how a turn of the assistant ends, and where its thoughts
 * belong. A template that refuses one says nothing about that. */
static void turns_probe(Chat *c, Arena *scratch) {
    Mark mark = arena_mark(scratch);
    const Message m[] = {{.role = ROLE_USER, .content = STR("Hi.")},
                         {.role = ROLE_ASSISTANT, .content = STR("Quizzical.")}};
    Message apart = m[1], before = m[1];
    apart.reasoning = STR("Pondering.");
    before.content = STR("<think>\nPondering.\n</think>\n\nQuizzical.");
    Err err = {0};
    Text s;
    c->end = -1;
    if (render(&s, c, m, 2, &(ChatOptions){0}, scratch, &err))
        c->end = end_find(c, s, m[1].content);
    c->thoughts = thought_written(c, apart, scratch)    ? THOUGHTS_APART
                  : thought_written(c, before, scratch) ? THOUGHTS_BEFORE
                                                        : THOUGHTS_NONE;
    arena_pop(scratch, mark);
}

static int64_t find(Text s, Str part) { return text_find(s, (Text){part.p, NULL, part.n}, 0); }

/* The closing tag that stands right before s.p + at, with a line break before it and those behind
 * it; empty where there is none. */
static Str closing_before(Text s, int64_t at) {
    const Str tag = STR("</think>");
    const int64_t to = at;
    while (at > 0 && s.p[at - 1] == '\n') at--;
    if (!str_ends((Str){s.p, at}, tag)) return (Str){0};
    at -= tag.n;
    if (at > 0 && s.p[at - 1] == '\n') at--;
    return (Str){s.p + at, to - at};
}

/* What stands between a thought and its answer. Where it is no closing tag, since the template
 * leaves thoughts of the past out (DeepSeek-R1's), it is what closes the thought that the template
 * opens: line breaks go with a line break. */
static void thought_probe(Chat *c, Arena *a) {
    const Mark mark = arena_mark(a);
    const Message m[] = {
        {.role = ROLE_USER, .content = STR("Hi.")},
        {.role = ROLE_ASSISTANT, .content = STR("Quizzical."), .reasoning = STR("Pondering.")}};
    const ChatOptions open = {.generate = true, .think = THINK_ON};
    char own[64];
    Err err = {0};
    Text s;
    Str end = STR("\n</think>\n\n");
    if (render(&s, c, m, 1, &open, a, &err) && chat_opens_thought(text_str(s))
        && s.p[s.n - 1] != '\n')
        end = STR("</think>");
    err = (Err){0};
    if (render(&s, c, m, 2, &(ChatOptions){0}, a, &err)) {
        const Str written = closing_before(s, MAX(find(s, m[1].content), 0));
        if (written.n > 0 && written.n <= (int64_t)sizeof own) {
            memcpy(own, written.p, (size_t)written.n);
            end = (Str){own, written.n};
        }
    }
    arena_pop(a, mark);
    c->thought_end = str_copy(a, end);
}

/* The tags of the calls of earlier turns stand in the template. */
static ToolSyntax syntax_of(Str source) {
    for (int64_t i = 0; i < source.n; i++) {
        Str rest = {source.p + i, source.n - i};
        if (str_starts(rest, STR("<tool_call>"))) return TOOLS_QWEN;
        if (str_starts(rest, STR("<｜tool▁call▁begin｜>"))) return TOOLS_DEEPSEEK;
    }
    return TOOLS_NONE;
}

bool chat_init(Chat *c, Arena *a, const Tokenizer *t, Str chat_template, Str bos, Str eos,
               Err *err) {
    *c = (Chat){.t = t, .bos = bos, .eos = eos, .end = -1};
    if (chat_template.n == 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "the model has no chat template; a text can still be continued as it is "
                       "(--raw)");
    c->tools = syntax_of(chat_template);
    c->tree = jinja_parse(a, chat_template, "the chat template", err);
    if (!c->tree) return false;
    turns_probe(c, a);
    const Text source = {chat_template.p, NULL, chat_template.n};
    if (find(source, STR("<think>")) >= 0 || find(source, STR("</think>")) >= 0)
        thought_probe(c, a);
    return true;
}

/* A template that opens a thought whatever it is told: an empty one, closed as Qwen3's own template
 * writes it (DeepSeek's has no line breaks). */
static Text thought_closed(Text s, Arena *a) {
    Str end = s.p[s.n - 1] == '\n' ? STR("\n</think>\n\n") : STR("</think>");
    char *p = arena_push(a, s.n + end.n);
    uint8_t *by = arena_push(a, s.n + end.n);
    memcpy(p, s.p, (size_t)s.n), memcpy(by, s.by, (size_t)s.n);
    memcpy(p + s.n, end.p, (size_t)end.n), memset(by + s.n, BY_TEMPLATE, (size_t)end.n);
    return (Text){p, by, s.n + end.n};
}

bool chat_encode(Ids *out, Buf *text, const Chat *c, const Message *messages, int64_t n,
                 ChatOptions options, Arena *scratch, Err *err) {
    Mark mark = arena_mark(scratch);
    Text s;
    bool ok = render(&s, c, messages, n, &options, scratch, err);
    if (ok && options.think == THINK_OFF && chat_opens_thought(text_str(s)))
        s = thought_closed(s, scratch);
    if (ok && text) buf_add(text, text_str(s));
    ok = ok && (!out || text_encode_by(out, c->t, text_str(s), s.by, scratch, err));
    arena_pop(scratch, mark);
    return ok;
}

bool chat_opens_thought(Str rendered) {
    while (rendered.n > 0
           && (rendered.p[rendered.n - 1] == '\n' || rendered.p[rendered.n - 1] == ' '))
        rendered.n--;
    return str_ends(rendered, STR("<think>"));
}
