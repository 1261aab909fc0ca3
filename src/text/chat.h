/* chat.h -- private to text/: what a chat family is. A family writes a conversation as its own
 * tokens and as text; neighbouring text is encoded as one, so that words merge across the seam
 * between what the family writes and what was said, as they do when a template is rendered and then
 * encoded. */
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
Str str_after(Str s, const char *part); /* behind the first `part`; p NULL: it is not there */
/* The id of an added token that the family needs. */
bool chat_token(const Chat *c, const char *content, int32_t *id, Err *err) CHECKED;
