/* editor.h -- private to cli/: what a person types. Lines are edited by libedit; what is typed
 * ahead while an answer comes is kept, and what is pasted stays one message. */
#pragma once
#include "base/base.h"

typedef struct Editor Editor;
/* Standard input is a terminal; editor_close gives it back as it was. file: of the history, read
 * and written; NULL: none. */
Editor *editor_open(Arena *a, const char *file);
void editor_close(Editor *e); /* NULL is fine */

typedef enum EditResult { EDIT_LINE, EDIT_INTERRUPTED, EDIT_END } EditResult;
/* A line, which may have line breaks in it (Alt-Enter, a paste); valid until the next call. */
EditResult editor_read(Editor *e, const char *prompt, Str *line);
/* Keeps what has been typed; never waits for a key. To be called while something else runs. */
void editor_poll(Editor *e);
