/* chat.h -- private to text/: what a chat family is. A family writes a conversation as its own
 * tokens and as text. Adjacent pieces of text are encoded together, whether the template or a
 * message wrote them, because the tokenizer merges across that border when a rendered template is
 * encoded as a whole. */
#pragma once
#include "text/text.h"

typedef struct Render {
    const Chat *c;
    Ids *out;
    Buf text; /* not yet encoded */
    Arena *scratch;
    Err *err;
} Render;

bool render_token(Render *r, int32_t id) CHECKED; /* encodes the text before it first */
void render_text(Render *r, Str s);

struct ChatFamily {
    const char *name;
    bool (*recognise)(Str chat_template);
    /* Fills c->system and the tokens. */
    bool (*init)(Chat *c, Arena *a, Str chat_template, Err *err);
    bool (*render)(Render *r, const Message *messages, int64_t n, ChatOptions options);
};

extern const ChatFamily chatml;

bool str_has(Str s, const char *part);
Str str_after(Str s, const char *part); /* what follows the first `part`; p NULL: s does not contain
                                         * it */
/* The id of an added token that the family needs. */
bool chat_token(const Chat *c, const char *content, int32_t *id, Err *err) CHECKED;
