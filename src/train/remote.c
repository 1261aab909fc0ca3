/* remote.c -- a teacher at an OpenAI-compatible address: POST .../chat/completions, of which most
 * servers of models know this much.
 *
 * What comes from there is data from outside: an answer that has another shape is an error. */
#include "fetch/fetch.h"
#include "train/teacher.h"

#include <jansson.h>
#include <stdlib.h>

struct Remote {
    const Recipe *recipe;
    Arena *scratch;
    Post *post;
};

bool remote_open(Remote **out, Arena *a, const Recipe *r, Err *err) {
    Remote *m = *out = PUSH(a, Remote, 1);
    const Str at = str_of(r->distill.teacher);
    const char *url =
        str_fmt(a, "%.*s%schat/completions", STRF(at), str_ends(at, STR("/")) ? "" : "/").p;
    *m = (Remote){.recipe = r, .scratch = arena_open("a request", ARENA_NO_LIMIT)};
    return post_open(&m->post, a, url, os_env("OPENAI_API_KEY"), err);
}

static Str question(Remote *m, Str conversation, uint64_t seed) {
    const Recipe *r = m->recipe;
    json_t *o = json_loadb(conversation.p, (size_t)conversation.n, JSON_ALLOW_NUL, NULL);
    if (r->distill.model[0]) json_object_set_new(o, "model", json_string(r->distill.model));
    json_object_set_new(o, "temperature", json_real(r->distill.temperature));
    json_object_set_new(o, "max_tokens", json_integer(r->distill.max_tokens));
    json_object_set_new(o, "seed", json_integer((json_int_t)(seed & INT32_MAX)));
    char *z = json_dumps(o, JSON_COMPACT);
    CHECK(z);
    const Str s = str_copy(m->scratch, str_of(z));
    free(z);
    json_decref(o);
    return s;
}

static Str string_of(const json_t *v) {
    return json_is_string(v) ? (Str){json_string_value(v), (int64_t)json_string_length(v)}
                             : (Str){0};
}

/* A thought stands in a member of its own, or before the answer. */
static bool answer_read(Answer *to, const json_t *o) {
    const json_t *choice = json_array_get(json_object_get(o, "choices"), 0),
                 *message = json_object_get(choice, "message");
    const Str why = string_of(json_object_get(choice, "finish_reason")),
              thought = string_of(json_object_get(message, "reasoning_content"));
    const SplitText parts = {&to->reasoning, &to->text, NULL};
    if (!json_is_string(json_object_get(message, "content"))) return false;
    splitter_init(&to->splitter, false, TOOLS_NONE);
    splitter_push(&to->splitter, string_of(json_object_get(message, "content")), &parts);
    splitter_end(&to->splitter, &parts);
    to->thought = to->splitter.thought || thought.n;
    if (thought.n && !to->splitter.thought) buf_add(&to->reasoning, str_trim(thought, "\r\n"));
    to->finish = str_eq(why, STR("stop")) ? FINISH_STOP : FINISH_LENGTH;
    return true;
}

bool remote_ask(Remote *m, Answer *to, Str conversation, uint64_t seed, Err *err) {
    const Mark mark = arena_mark(m->scratch);
    Str answer;
    bool ok = post_ask(m->post, m->scratch, question(m, conversation, seed), &answer, err);
    json_t *o = ok ? json_loadb(answer.p, (size_t)answer.n, JSON_ALLOW_NUL, NULL) : NULL;
    if (ok && !answer_read(to, o))
        ok = err_set(err, ERR_FORMAT,
                     "%s answers something else than {\"choices\": [{\"message\": "
                     "{\"content\": TEXT}, \"finish_reason\"}]}: is it the address that "
                     "/chat/completions stands behind?",
                     m->recipe->distill.teacher);
    json_decref(o);
    arena_pop(m->scratch, mark);
    return ok;
}

void remote_close(Remote *m) {
    if (!m) return;
    post_close(m->post);
    arena_close(m->scratch);
}
