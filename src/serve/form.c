/* form.c -- answers that are bound to a form: structured output and calls of tools, as grammars
 * (text/grammar.h), which requests share.
 *
 * A grammar is compiled by the worker that first needs it, and from then on used by the engine's
 * thread alone. The API's lock guards the list; what a job uses is not thrown out. */
#include "serve/api.h"

struct Form {
    char key[65];
    const Lexicon *lexicon; /* of the model that it is for */
    Grammar *grammar;
    Arena *a;
    int64_t users;
    double used;
};

/* ---- what a request asks for ----------------------------------------------------------------- */

static bool unsupported(Call *c, const char *param, const char *what) {
    return fault_set(&c->fault, 400, "invalid_request_error", "unsupported_parameter", param, "%s",
                     what);
}

static Str json_bytes(Arena *a, const json_t *j) {
    char *text = json_dumps(j, JSON_REAL_PRECISION(15) | JSON_ENCODE_ANY);
    const Str s = str_copy(a, str_of(text ? text : "null"));
    free(text);
    return s;
}

/* {"type": "text" or "json_object" or "json_schema"}; the schema stands where the route has it. */
bool form_format(Call *c, Talk *t, const char *param, const json_t *format) {
    const char *type = json_string_value(json_object_get(format, "type"));
    const json_t *inner = json_object_get(format, "json_schema"),
                 *schema = json_object_get(inner ? inner : format, "schema");
    if (!format || json_is_null(format) || (type && !strcmp(type, "text"))) return true;
    if (type && !strcmp(type, "json_object")) {
        t->form = (GrammarSpec){.kind = GRAMMAR_OBJECT};
    } else if (type && !strcmp(type, "json_schema") && json_is_object(schema)) {
        t->form = (GrammarSpec){.kind = GRAMMAR_SCHEMA, .text = json_bytes(c->a, schema)};
    } else {
        return fault_value(&c->fault, param,
                           "%s must have the type text, json_object, or json_schema with a schema",
                           param);
    }
    return t->formed = true;
}

/* Whether a tool of this name is offered. */
static bool offers(const Talk *t, Str name) {
    for (size_t i = 0; i < json_array_size(t->tools); i++) {
        const json_t *f = json_object_get(json_array_get(t->tools, i), "function");
        if (str_eq(name, str_of(json_string_value(json_object_get(f, "name"))))) return true;
    }
    return false;
}

/* choice: "auto", "none", "required" (Anthropic's any), or with a name that tool. Of the three ways
 * to say it each family has its own; they arrive here as two texts. */
bool form_tools(Call *c, Talk *t, const char *choice, const char *name, bool many) {
    const bool must = name || !strcmp(choice, "required") || !strcmp(choice, "any");
    if (!name && !must && strcmp(choice, "auto") && strcmp(choice, "none"))
        return fault_value(&c->fault, "tool_choice",
                           "tool_choice must be auto, none, required, or name a function");
    if (!strcmp(choice, "none")) {
        json_decref(t->tools);
        t->tools = NULL;
    }
    if (!t->tools) return !must || fault_value(&c->fault, "tool_choice", "there are no tools");
    if (c->m->bundle->chat.tools == TOOLS_NONE)
        return unsupported(c, "tools", "the model's chat template knows no tools");
    if (name && !offers(t, str_of(name)))
        return fault_value(&c->fault, "tool_choice", "there is no tool '%.64s'", name);
    if (t->formed && must)
        return unsupported(c, "tool_choice",
                           "a form for the answer and a call that must come do "
                           "not go together");
    if (t->formed) return true;
    t->form = (GrammarSpec){.kind = GRAMMAR_CALLS,
                            .text = json_bytes(c->a, t->tools),
                            .syntax = c->m->bundle->chat.tools,
                            .must_call = must,
                            .many = many && !name,
                            .name = name ? str_copy(c->a, str_of(name)) : (Str){0}};
    return t->formed = true;
}

/* ---- grammars that are shared ---------------------------------------------------------------- */

static void key_of(char key[65], const GrammarSpec *s) {
    const uint8_t what[] = {(uint8_t)s->kind, s->thoughts, (uint8_t)s->syntax,
                            s->must_call,     s->many,     (uint8_t)s->name.n};
    Sha256 hash;
    sha256_init(&hash);
    sha256_add(&hash, what, sizeof what);
    sha256_add(&hash, s->name.p, s->name.n);
    sha256_add(&hash, s->text.p, s->text.n);
    sha256_hex(&hash, key);
}

/* Inside the lock. */
static Form *form_find(const Call *c, const char *key) {
    for (int64_t i = 0; i < FORMS; i++) {
        Form *f = c->api->form[i];
        if (!f || f->lexicon != c->m->lexicon || strcmp(f->key, key)) continue;
        f->users++, f->used = os_now();
        return f;
    }
    return NULL;
}

/* Inside the lock: a place that is free, or that of the one that was used longest ago. NULL: all
 * are in use. */
static Form **form_place(Api *api) {
    Form **best = NULL;
    for (int64_t i = 0; i < FORMS; i++) {
        if (!api->form[i]) return &api->form[i];
        if (!api->form[i]->users && (!best || api->form[i]->used < (*best)->used))
            best = &api->form[i];
    }
    if (best) arena_close((*best)->a);
    return best;
}

static Form *form_add(Call *c, const char *key, const GrammarSpec *spec, Err *err) {
    Api *api = c->api;
    Arena *a = arena_open("grammar", ARENA_NO_LIMIT);
    Form *f = PUSH(a, Form, 1);
    *f = (Form){.a = a, .lexicon = c->m->lexicon, .users = 1, .used = os_now()};
    memcpy(f->key, key, sizeof f->key);
    if (!grammar_new(&f->grammar, a, c->m->lexicon, spec, err)) {
        arena_close(a);
        return NULL;
    }
    monitor_enter(api->lock);
    Form *other = form_find(c, key), **place = other ? NULL : form_place(api);
    if (place) *place = f;
    monitor_leave(api->lock);
    if (place) return f;
    arena_close(a);
    if (!other) err_set(err, ERR_LIMIT, "%d forms of answers are in use, which is the most", FORMS);
    return other;
}

void form_leave(Api *api, Form *f) {
    if (!f) return;
    monitor_enter(api->lock);
    f->users--;
    monitor_leave(api->lock);
}

void forms_forget(Api *api, const Lexicon *l) {
    monitor_enter(api->lock);
    for (int64_t i = 0; i < FORMS; i++) {
        if (!api->form[i] || api->form[i]->lexicon != l) continue;
        arena_close(api->form[i]->a);
        api->form[i] = NULL;
    }
    monitor_leave(api->lock);
}

void forms_close(Api *api) {
    for (int64_t i = 0; i < FORMS; i++)
        if (api->form[i]) arena_close(api->form[i]->a);
}

/* The form that the job's choices are bound to. Tools whose parameters are more than the grammars
 * know are offered unbound, where no call has to come. */
bool job_form(Call *c, Job *j, Talk *t) {
    char key[65];
    Err err = {0};
    if (!t->formed) return true;
    if (!c->m->lexicon) return unsupported(c, NULL, "the model has no token that ends an answer");
    t->form.thoughts = c->m->bundle->chat.thought_end.n > 0 && !t->answers;
    key_of(key, &t->form);
    monitor_enter(c->api->lock);
    j->form = form_find(c, key);
    monitor_leave(c->api->lock);
    if (!j->form) j->form = form_add(c, key, &t->form, &err);
    if (!j->form && t->form.kind == GRAMMAR_CALLS && !t->form.must_call) return true;
    if (!j->form) return fault_err(&c->fault, &err);
    return true;
}

void form_bind(Choice *o) {
    Job *j = o->job;
    if (!j->form) return;
    grammar_constraint(&o->form, j->a, j->form->grammar, o->ask.in_thought);
    if (o->budget.self) constraint_both(&o->both, j->a, &o->budget, &o->form);
    o->ask.limit = o->budget.self ? &o->both : &o->form;
}
