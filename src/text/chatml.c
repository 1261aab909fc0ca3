/* chatml.c -- ChatML, as SmolLM2 writes it: each message is <|im_start|>ROLE\nCONTENT<|im_end|>\n,
 * and a conversation without a system message begins with the template's own. */
#include "text/chat.h"

enum { IM_START, IM_END };

/* A template that mentions tools, reasoning, images or a first token writes more than this file
 * does. */
static bool chatml_recognise(Str s) {
    static const char *const more[] = {"tool", "think", "reasoning", "image", "bos_token"};
    for (int i = 0; i < COUNT(more); i++)
        if (str_has(s, more[i])) return false;
    return str_has(s, "<|im_start|>") && str_has(s, "<|im_end|>")
           && str_has(s, "<|im_start|>assistant");
}

/* The inside of a string of the template, with its escapes resolved. */
static Str unescape(Arena *a, Str s) {
    Buf out = {.a = a};
    for (int64_t i = 0; i < s.n; i++) {
        bool escape = s.p[i] == '\\' && i + 1 < s.n;
        if (escape) i++;
        buf_add(&out, escape && s.p[i] == 'n' ? STR("\n") : (Str){s.p + i, 1});
    }
    return buf_str(&out);
}

/* The system text that stands in the template as a string:
 * {{ '<|im_start|>system\nTEXT<|im_end|>\n' }}. */
static Str system_text(Arena *a, Str s) {
    while ((s = str_after(s, "<|im_start|>system")).p) {
        Str end = str_after(s, "<|im_end|>"), text = {s.p, end.p ? end.p - 10 - s.p : 0};
        int64_t newline = str_starts(text, STR("\\n")) ? 2 : str_starts(text, STR("\n")) ? 1 : 0;
        text.p += newline, text.n -= newline;
        if (newline && text.n > 0 && text.p[0] != '\'' && text.p[0] != '"')
            return unescape(a, text);
    }
    return (Str){0};
}

static bool chatml_init(Chat *c, Arena *a, Str chat_template, Err *err) {
    c->system = system_text(a, chat_template);
    if (!chat_token(c, "<|im_start|>", &c->token[IM_START], err)) return false;
    if (!chat_token(c, "<|im_end|>", &c->token[IM_END], err)) return false;
    c->end = c->token[IM_END];
    return true;
}

static bool message_render(Render *r, const char *role, Str content) {
    if (!render_token(r, r->c->token[IM_START])) return false;
    render_text(r, str_of(role));
    render_text(r, STR("\n"));
    render_text(r, content);
    if (!render_token(r, r->c->token[IM_END])) return false;
    render_text(r, STR("\n"));
    return true;
}

static bool chatml_render(Render *r, const Message *m, int64_t n, ChatOptions options) {
    static const char *const names[ROLE_N] = {"system", "user", "assistant", "tool"};
    if (n > 0 && m[0].role != ROLE_SYSTEM && r->c->system.n > 0
        && !message_render(r, names[ROLE_SYSTEM], r->c->system))
        return false;
    for (int64_t i = 0; i < n; i++) {
        CHECK(m[i].role >= 0 && m[i].role < ROLE_N);
        if (!message_render(r, names[m[i].role], m[i].content)) return false;
    }
    if (!options.generate) return true;
    if (!render_token(r, r->c->token[IM_START])) return false;
    render_text(r, STR("assistant\n"));
    return true;
}

const ChatFamily chatml = {"chatml", chatml_recognise, chatml_init, chatml_render};
