/* split.c -- separates reasoning, answer and tool calls, byte by byte. A tag begins with '<' and
 * contains no other '<', so after a mismatch only the current byte can begin a tag again. What is
 * held back: line breaks, then the first bytes of a tag that the state awaits.
 *
 *   START --<think>--> THOUGHT --</think>--> GAP --any but \n--> ANSWER
 *   START --any but \n--> ANSWER
 *   START, GAP, ANSWER --the tag of a call--> CALL --its end--> GAP */
#include "text/text.h"

#include "text/parts_call.h"

/* ---- tags ------------------------------------------------------------------------------------ */

typedef enum Tag {
    TAG_THINK,
    TAG_THINK_END,
    TAG_CALL,
    TAG_CALL_END,
    TAG_LIST,
    TAG_LIST_END,
    TAG_N
} Tag;

/* DeepSeek puts its calls between two tags more; Qwen, and who follows it, does not. */
static Str tag_text(const Splitter *s, Tag tag) {
    static const char *const text[][TAG_N] = {
        [TOOLS_NONE] = {"<think>", "</think>"},
        [TOOLS_QWEN] = {"<think>", "</think>", "<tool_call>", "</tool_call>"},
        [TOOLS_DEEPSEEK] = {"<think>", "</think>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>",
                            "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"}};
    const char *z = text[s->tools][tag];
    return z ? str_of(z) : (Str){0};
}

static bool awaited(const Splitter *s, Tag tag) {
    if (tag_text(s, tag).n == 0) return false;
    switch (s->state) {
    case SPLIT_START: return tag == TAG_THINK || tag == TAG_CALL || tag == TAG_LIST;
    case SPLIT_THOUGHT: return tag == TAG_THINK_END;
    case SPLIT_CALL: return tag == TAG_CALL_END;
    default: return tag == TAG_CALL || tag == TAG_LIST || tag == TAG_LIST_END;
    }
}

void splitter_init(Splitter *s, bool in_thought, ToolSyntax tools) {
    *s = (Splitter){
        .state = in_thought ? SPLIT_THOUGHT : SPLIT_START, .tools = tools, .thought = in_thought};
}

bool splitter_knows(const Splitter *s, Str spelling) {
    if (s->tools == TOOLS_DEEPSEEK && str_eq(spelling, STR(CALL_SEPARATOR))) return true;
    for (int tag = 0; tag < TAG_N; tag++)
        if (spelling.n > 0 && str_eq(spelling, tag_text(s, (Tag)tag))) return true;
    return false;
}

/* ---- text ------------------------------------------------------------------------------------ */

static Buf *out_of(const Splitter *s, const SplitText *to) {
    return s->state == SPLIT_THOUGHT ? to->reasoning
           : s->state == SPLIT_CALL  ? to->calls
                                     : to->answer;
}

/* The held text is no tag. Line breaks before the reasoning, around an answer's calls and behind a
 * thought are dropped. */
static void held_out(Splitter *s, const SplitText *to) {
    bool keep = s->state == SPLIT_START || s->state == SPLIT_ANSWER || s->state == SPLIT_CALL
                || (s->state == SPLIT_THOUGHT && s->begun);
    Buf *out = out_of(s, to);
    for (; s->newlines > 0; s->newlines--)
        if (keep) buf_add(out, STR("\n"));
    buf_add(out, (Str){s->held, s->n_held});
    s->n_held = 0;
    s->begun = true;
    if (s->state == SPLIT_START || s->state == SPLIT_GAP) s->state = SPLIT_ANSWER;
}

/* The call is whole: one line of JSON; what is no call goes into the answer as it was written. */
static void call_end(Splitter *s, const SplitText *to, bool closed) {
    Str content = {to->calls->n ? to->calls->p + s->call : NULL, to->calls->n - s->call};
    if (call_write(to->calls, s->call, s->tools)) {
        s->state = SPLIT_GAP;
        return;
    }
    buf_add(to->answer, tag_text(s, TAG_CALL));
    buf_add(to->answer, content);
    if (closed) buf_add(to->answer, tag_text(s, TAG_CALL_END));
    to->calls->n = s->call;
    s->state = SPLIT_ANSWER;
}

static void tag_take(Splitter *s, Tag tag, const SplitText *to) {
    if (s->state == SPLIT_CALL)
        for (; s->newlines > 0; s->newlines--) buf_add(to->calls, STR("\n"));
    s->newlines = s->n_held = 0;
    if (tag == TAG_THINK) s->state = SPLIT_THOUGHT;
    if (tag == TAG_THINK_END) s->state = SPLIT_GAP;
    if (tag == TAG_LIST || tag == TAG_LIST_END) s->state = SPLIT_GAP;
    s->thought |= tag == TAG_THINK || tag == TAG_THINK_END;
    s->begun = false;
    if (tag == TAG_CALL) s->state = SPLIT_CALL, s->call = to->calls->n;
    if (tag == TAG_CALL_END) call_end(s, to, true);
}

/* Whether the held bytes are, or begin, an awaited tag. */
static bool held_fits(const Splitter *s, Tag *whole) {
    Str held = {s->held, s->n_held};
    *whole = TAG_N;
    for (int tag = 0; tag < TAG_N; tag++) {
        if (!awaited(s, (Tag)tag) || !str_starts(tag_text(s, (Tag)tag), held)) continue;
        if (held.n == tag_text(s, (Tag)tag).n) *whole = (Tag)tag;
        return true;
    }
    return false;
}

static void char_push(Splitter *s, char c, const SplitText *to) {
    Tag whole;
    s->held[s->n_held++] = c;
    if (held_fits(s, &whole)) {
        if (whole != TAG_N) tag_take(s, whole, to);
        return;
    }
    if (--s->n_held > 0) { /* what was held was no tag; c may begin one */
        held_out(s, to);
        char_push(s, c, to);
        return;
    }
    bool waits = s->state != SPLIT_ANSWER || s->tools;
    if (c == '\n' && waits) {
        s->newlines++;
        return;
    }
    held_out(s, to);
    buf_add(out_of(s, to), (Str){&c, 1});
}

void splitter_push(Splitter *s, Str text, const SplitText *to) {
    for (int64_t i = 0; i < text.n; i++) char_push(s, text.p[i], to);
}

void splitter_end(Splitter *s, const SplitText *to) {
    bool call = s->state == SPLIT_CALL, thought = s->state == SPLIT_THOUGHT;
    if (call || s->state == SPLIT_START || s->state == SPLIT_ANSWER || s->n_held > 0)
        if (!thought || s->n_held > 0) held_out(s, to);
    if (call) call_end(s, to, false);
}

void splitter_tokens(Splitter *s, const Tokenizer *t, const int32_t *ids, int64_t n,
                     const SplitText *to) {
    Buf piece = {.a = to->answer->a};
    Decoder d;
    decoder_init(&d, t, true);
    for (int64_t i = 0; i < n; i++, piece.n = 0) {
        d.skip_special = !splitter_knows(s, token_bytes(t, ids[i]));
        decoder_push(&d, ids[i], &piece);
        splitter_push(s, buf_str(&piece), to);
    }
    decoder_end(&d, &piece);
    splitter_push(s, buf_str(&piece), to);
    splitter_end(s, to);
}
