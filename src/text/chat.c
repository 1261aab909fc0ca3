/* chat.c -- conversations to token ids: chooses the family of the template, and does what all
 * families share. */
#include "text/chat.h"

static const ChatFamily *const families[] = {&chatml};

Str str_after(Str s, const char *part) {
    Str want = str_of(part);
    for (; s.n >= want.n; s.p++, s.n--)
        if (str_starts(s, want)) return (Str){s.p + want.n, s.n - want.n};
    return (Str){0};
}

bool str_has(Str s, const char *part) { return str_after(s, part).p != NULL; }

bool chat_token(const Chat *c, const char *content, int32_t *id, Err *err) {
    *id = token_named(c->t, str_of(content));
    return *id >= 0
           || err_set(err, ERR_UNSUPPORTED,
                      "the chat template writes %s, but the tokenizer has no such token", content);
}

bool chat_init(Chat *c, Arena *a, const Tokenizer *t, Str chat_template, int32_t bos, Err *err) {
    *c = (Chat){.t = t, .bos = bos};
    for (int i = 0; i < COUNT(families) && !c->family; i++)
        if (families[i]->recognise(chat_template)) c->family = families[i];
    if (c->family == NULL)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s (known: %s); a text can still be continued as it is (--raw)",
                       chat_template.n ? "the model's chat template is of no known family"
                                       : "the model has no chat template",
                       families[0]->name);
    return c->family->init(c, a, chat_template, err);
}

const char *chat_name(const Chat *c) { return c->family->name; }

static bool text_flush(Render *r) {
    bool ok = text_encode(r->out, r->c->t, buf_str(&r->text), TEXT_PLAIN, r->scratch, r->err);
    r->text.n = 0;
    return ok;
}

bool render_token(Render *r, int32_t id) {
    if (!text_flush(r)) return false;
    return ids_add(r->out, id)
           || err_set(r->err, ERR_LIMIT, "encoding a conversation: no memory left for its ids");
}

void render_text(Render *r, Str s) { buf_add(&r->text, s); }

bool chat_encode(Ids *out, const Chat *c, const Message *messages, int64_t n, ChatOptions options,
                 Arena *scratch, Err *err) {
    Mark mark = arena_mark(scratch);
    int64_t n_before = out->n, bytes = 4096 + c->system.n;
    for (int64_t i = 0; i < n; i++) bytes += 256 + messages[i].content.n + messages[i].reasoning.n;
    Render r = {.c = c, .out = out, .scratch = scratch, .err = err};
    r.text = (Buf){.a = scratch, .p = arena_try(scratch, bytes), .cap = bytes};
    bool ok = r.text.p != NULL
              || err_set(err, ERR_LIMIT, "encoding a conversation: no memory left for its text");
    ok = ok && c->family->render(&r, messages, n, options) && text_flush(&r);
    if (!ok) out->n = n_before;
    arena_pop(scratch, mark);
    return ok;
}
