/* screen.h -- private to cli/: text of a model on standard output. To a terminal it comes wrapped
 * at words, and without any control character that the model wrote; to a file or a pipe as it is.
 */
#pragma once
#include "base/base.h"

typedef struct Screen {
    bool tty, colour; /* colour: a terminal, and NO_COLOR is not set */
    bool dim;         /* the style of the held word */
    int64_t width, column;
    int64_t spaces; /* held: blanks, and after them the word that may not fit on this line */
    char word[512];
    int64_t n_word, word_width;
} Screen;
void screen_init(Screen *s);
void screen_put(Screen *s, Str text, bool dim); /* whole characters of UTF-8 */
/* Nothing is held back any more. */
void screen_flush(Screen *s);
void screen_line(Screen *s); /* the next text begins a line */
/* A line of the program's own, in grey where there is colour. */
void screen_note(Screen *s, const char *fmt, ...) FORMAT(2, 3);
