/* split.c -- separates reasoning from answer, byte by byte. A tag begins with '<' and contains no
 * other '<', so after a mismatch only the current byte can begin the tag again. Two numbers
 * describe the text that is held back: line breaks, then the first bytes of the expected tag.
 *
 *   START --<think>--> THOUGHT --</think>--> GAP --any but \n--> ANSWER
 *   START --any but \n--> ANSWER */
#include "text/text.h"

void splitter_init(Splitter *s, bool in_thought) {
    *s = (Splitter){.state = in_thought ? SPLIT_THOUGHT : SPLIT_START, .thought = in_thought};
}

static Str awaited(const Splitter *s) {
    return s->state == SPLIT_START ? STR("<think>") : STR("</think>");
}

/* The held text is no tag; line breaks before the reasoning are dropped. Once an answer has begun
 * there is no reasoning. */
static void held_out(Splitter *s, Buf *out) {
    bool keep = s->state == SPLIT_START || s->begun;
    for (; s->newlines > 0; s->newlines--)
        if (keep) buf_add(out, STR("\n"));
    buf_add(out, (Str){awaited(s).p, s->matched});
    s->matched = 0;
    s->begun = true;
    if (s->state == SPLIT_START) s->state = SPLIT_ANSWER;
}

/* In START and THOUGHT: whether c continues the tag that the held bytes begin. */
static bool tag_step(Splitter *s, char c, Buf *out) {
    if (s->matched > 0 && c != awaited(s).p[s->matched]) held_out(s, out);
    if (s->state == SPLIT_ANSWER || c != awaited(s).p[s->matched]) return false;
    if (++s->matched < awaited(s).n) return true;
    s->state = s->state == SPLIT_START ? SPLIT_THOUGHT : SPLIT_GAP;
    s->thought = true;
    s->newlines = s->matched = 0;
    return true;
}

static void char_push(Splitter *s, char c, Buf *reasoning, Buf *answer) {
    Buf *out = s->state == SPLIT_THOUGHT ? reasoning : answer;
    bool watching = s->state == SPLIT_START || s->state == SPLIT_THOUGHT;
    if (watching && tag_step(s, c, out)) return;
    if (s->state == SPLIT_GAP && c == '\n') return;
    if (s->state == SPLIT_START || s->state == SPLIT_THOUGHT) {
        if (c == '\n') {
            s->newlines++;
            return;
        }
        held_out(s, out);
    }
    if (s->state == SPLIT_GAP) s->state = SPLIT_ANSWER;
    buf_add(out, (Str){&c, 1});
}

void splitter_push(Splitter *s, Str text, Buf *reasoning, Buf *answer) {
    for (int64_t i = 0; i < text.n; i++) char_push(s, text.p[i], reasoning, answer);
}

void splitter_end(Splitter *s, Buf *reasoning, Buf *answer) {
    if (s->state == SPLIT_START) held_out(s, answer);
    if (s->state == SPLIT_THOUGHT && s->matched > 0) held_out(s, reasoning);
}
