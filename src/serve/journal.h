/* journal.h -- private to serve/: the log of the service on standard error, a line for each request
 * and for what happened to the service. Never a prompt, an answer, a key, or anything else that a
 * client chose.
 * Threads: any; lines are written by a thread of its own, so that nobody waits for who reads. */
#pragma once
#include "serve/http.h"

typedef struct Journal Journal;
/* form: "text", "json" (an object for each line), or "none": of requests nothing is told. */
bool journal_open(Journal **j, Arena *a, const char *form, Err *err) CHECKED;
void journal_close(Journal *j); /* all is written; NULL is fine */
/* Of a request that is over. Those that only ask whether the service lives are left out, unless
 * they were refused. Where too many lines wait, it is counted instead. */
void journal_request(Journal *j, const Served *s);
/* Of the service: event "reload", and what is to be said. */
void journal_say(Journal *j, const char *event, const char *fmt, ...) FORMAT(3, 4);
