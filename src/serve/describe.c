/* describe.c -- what the API takes and answers, for people (docs/api.md) and programs (OpenAPI),
 * from the tables that requests are read by and the types of answers (types.c). */
#include "serve/api.h"

static const char *const type_names[] = {[FIELD_BOOL] = "boolean",
                                         [FIELD_INT] = "integer",
                                         [FIELD_NUMBER] = "number",
                                         [FIELD_TEXT] = "string",
                                         [FIELD_JSON] = "any"};

static bool bounded(const Field *f) { return f->kind == FIELD_INT || f->kind == FIELD_NUMBER; }

/* ---- for people ------------------------------------------------------------------------------ */

static void field_row(Buf *b, const Field *f) {
    buf_fmt(b, "| `%s` | %s", f->name, f->kind == FIELD_JSON ? "JSON" : type_names[f->kind]);
    if (bounded(f)) buf_fmt(b, ", %.16g to %.16g", f->lo, f->hi);
    buf_fmt(b, " | %s |\n", f->what);
}

/* What a route answers with: its alternatives, each as code. */
static void answer_cell(Buf *b, const Route *r) {
    for (Str all = str_of(r->answer ? r->answer : ""); all.n > 0;) {
        const Str one = str_trim(str_cut(&all, '|'), " ");
        buf_fmt(b, "`%.*s`%s", STRF(one), all.n > 0 ? " or " : "");
    }
    if (r->events) buf_fmt(b, "%sa stream of `%s`", r->answer ? "; " : "", r->events);
}

void routes_describe(Buf *b, const Route *route, int64_t n) {
    buf_add(b, STR("| route | what it answers | its type | key |\n|---|---|---|---|\n"));
    for (int64_t i = 0; i < n; i++) {
        buf_fmt(b, "| `%s %s` | %s | ", route[i].method, route[i].path, route[i].what);
        answer_cell(b, &route[i]);
        buf_fmt(b, " | %s |\n", route[i].open ? "no" : "yes");
    }
    for (int64_t i = 0; i < n; i++) {
        const Route *r = &route[i];
        if (!r->field || (i > 0 && r->field == route[i - 1].field)) continue;
        buf_fmt(b, "\n### %s\n\n| member | type | |\n|---|---|---|\n", r->path);
        for (int64_t k = 0; k < *r->n_fields; k++) field_row(b, &r->field[k]);
    }
    buf_add(b,
            STR("\n### What answers are made of\n\nAs TypeScript writes types, `integer` a whole "
                "number; an object has no other members. `Error` with status 200: it went wrong "
                "behind blank lines.\n\n```ts\n"));
    types_describe(b);
    buf_add(b, STR("```\n"));
}

/* ---- for programs ---------------------------------------------------------------------------- */

static json_t *field_schema(const Field *f) {
    json_t *o = f->kind == FIELD_JSON ? json_loads(f->schema, 0, NULL)
                                      : json_pack("{s:s}", "type", type_names[f->kind]);
    if (bounded(f)) {
        json_object_set_new(o, "minimum", json_real(f->lo));
        json_object_set_new(o, "maximum", json_real(f->hi));
    }
    json_object_set_new(o, "description", json_string(f->what));
    return o;
}

static json_t *body_schema(const Route *r) {
    json_t *members = json_object();
    for (int64_t i = 0; i < *r->n_fields; i++)
        json_object_set_new(members, r->field[i].name, field_schema(&r->field[i]));
    return json_pack("{s:b, s:{s:{s:{s:s, s:o}}}}", "required", 1, "content", "application/json",
                     "schema", "type", "object", "properties", members);
}

/* What comes with status 200, by media types. */
static json_t *answer_content(const Route *r) {
    json_t *content = json_object();
    if (r->answer && strchr(r->answer, '/'))
        json_object_set_new(content, r->answer, json_pack("{s:{s:s}}", "schema", "type", "string"));
    else if (r->answer)
        json_object_set_new(content, "application/json",
                            json_pack("{s:o}", "schema", type_schema(r->answer)));
    if (r->events)
        json_object_set_new(content, "text/event-stream",
                            json_pack("{s:o}", "schema", type_schema(r->events)));
    return content;
}

/* OpenAPI 3.1 has no word for the events of a stream. */
static const char *answer_description(const Route *r) {
    return r->events
               ? "the answer; as a stream, server-sent events: the schema is that of the JSON "
                 "in each event's data, and OpenAI's streams end with the data [DONE]"
               : "the answer";
}

static json_t *responses_json(const Route *r) {
    const char *fault = style_of(str_of(r->path)) == STYLE_ANTHROPIC
                            ? "#/components/responses/AnthropicError"
                            : "#/components/responses/Error";
    return json_pack("{s:{s:s, s:o}, s:{s:s}, s:{s:s}}", "200", "description",
                     answer_description(r), "content", answer_content(r), "4XX", "$ref", fault,
                     "5XX", "$ref", fault);
}

static json_t *route_json(const Route *r) {
    json_t *o = json_pack("{s:s, s:o}", "summary", r->what, "responses", responses_json(r));
    if (r->field) json_object_set_new(o, "requestBody", body_schema(r));
    if (r->open) json_object_set_new(o, "security", json_array());
    if (strchr(r->path, '*'))
        json_object_set_new(o, "parameters",
                            json_pack("[{s:s, s:s, s:b, s:{s:s}}]", "name", "id", "in", "path",
                                      "required", 1, "schema", "type", "string"));
    return o;
}

static json_t *fault_response(const char *type, const char *family) {
    return json_pack("{s:o, s:{s:{s:o}}}", "description",
                     json_sprintf("an error, in the shape of %s", family), "content",
                     "application/json", "schema", type_schema(type));
}

static json_t *components_json(void) {
    return json_pack("{s:{s:{s:s, s:s}}, s:{s:o, s:o}, s:o}", "securitySchemes", "key", "type",
                     "http", "scheme", "bearer", "responses", "Error",
                     fault_response("Error", "OpenAI"), "AnthropicError",
                     fault_response("AnthropicError", "Anthropic"), "schemas", types_schemas());
}

static const char *method_word(const Route *r) {
    return *r->method == 'P' ? "post" : *r->method == 'D' ? "delete" : "get";
}

/* As OpenAPI writes it, with {id} for the star. */
static json_t *path_json(const Route *r) {
    Str end = str_of(r->path);
    const Str front = str_cut(&end, '*');
    return end.p ? json_sprintf("%.*s{id}%.*s", STRF(front), STRF(end)) : json_of(front);
}

static json_t *openapi_json(const Route *route, int64_t n, const char *version) {
    json_t *paths = json_object();
    for (const Route *r = route; r < route + n; r++) {
        json_t *path = path_json(r), *methods = json_object_get(paths, json_string_value(path));
        if (!methods) json_object_set_new(paths, json_string_value(path), methods = json_object());
        json_object_set_new(methods, method_word(r), route_json(r));
        json_decref(path);
    }
    return json_pack("{s:s, s:{s:s, s:s}, s:[{s:s}], s:o, s:o, s:[{s:[]}]}", "openapi", "3.1.0",
                     "info", "title", "Lisao", "version", version, "servers", "url", "/v1", "paths",
                     paths, "components", components_json(), "security", "key");
}

void answer_openapi(Call *c) {
    answer_json(c, openapi_json(c->routes, c->n_routes, c->api->spec->version));
}
