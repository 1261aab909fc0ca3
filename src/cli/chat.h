/* chat.h -- private to cli/: a conversation in the terminal. */
#pragma once
#include "cli/editor.h"
#include "cli/generation.h"
#include "cli/screen.h"

typedef struct ChatSetup {
    ModelOpts model;
    RequestOpts request;
    const char *full; /* "slide", "stop": what a full context does */
    int64_t context;
} ChatSetup;

/* What the last answer took. */
typedef struct TurnStats {
    int64_t prompt, cached, generated; /* tokens */
    double first, decode;              /* seconds to the first token, from there to the last */
} TurnStats;

typedef struct Conversation {
    ChatSetup *setup; /* commands change it */
    Session s;
    Engine *engine;
    Arena *arena;     /* messages, settings */
    Message *message; /* (n, room for cap); without the system message */
    int64_t n, cap;
    int64_t seen_from; /* a full context has forgotten the messages before */
    int64_t context;
    int64_t again;    /* how often the last answer was asked for anew: another seed each time */
    bool hide;        /* thoughts are folded */
    bool tty;         /* a person sits at it: both ends are a terminal */
    const char *file; /* that was saved or loaded last; NULL: none */
    int64_t turns, failed; /* asked for so far; of these, those that gave no answer */
    Editor *editor;        /* NULL without a person */
    Screen screen;
    TurnStats last;
    /* The answer that is coming. */
    Generation g;
    Guard guard;
    double thought; /* seconds when the thought was over; 0: none, or it goes on */
    bool thinking;
} Conversation;

/* MODEL, or what stands for it when it is left out. */
bool chat_model(const char **name, Arena *a, const char *given, Err *err) CHECKED;
bool chat_open(Conversation *t, ChatSetup *o, const char *model, Err *err) CHECKED;
void chat_close(Conversation *t);
/* Until the end of the input, /exit, or Ctrl-C. */
bool chat_run(Conversation *t, Err *err) CHECKED;

void message_add(Conversation *t, Role role, Str content, Str reasoning);
/* Answers the last message, the user's. Where there is no answer it is taken back. */
bool turn_run(Conversation *t, Err *err) CHECKED;

/* ---- commands (chat_commands.c) -------------------------------------------------------------- */

typedef enum LineKind { LINE_MESSAGE, LINE_COMMAND, LINE_EXIT } LineKind;
/* Does what a command says. Every other text is a message, also one that begins with a slash; but a
 * misspelled command is an error. */
LineKind command_run(Conversation *t, Str line, Err *err);
extern const char CHAT_COMMANDS[]; /* the list of /help */
