/* describe.c -- what the API takes, for people (docs/api.md) and programs (OpenAPI 3.1), from the
 * tables that requests are read by. */
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

void routes_describe(Buf *b, const Route *route, int64_t n) {
    buf_add(b, STR("| route | what it answers | key |\n|---|---|---|\n"));
    for (int64_t i = 0; i < n; i++)
        buf_fmt(b, "| `%s %s` | %s | %s |\n", route[i].method, route[i].path, route[i].what,
                route[i].open ? "no" : "yes");
    for (int64_t i = 0; i < n; i++) {
        const Route *r = &route[i];
        if (!r->field || (i > 0 && r->field == route[i - 1].field)) continue;
        buf_fmt(b, "\n### %s\n\n| member | type | |\n|---|---|---|\n", r->path);
        for (int64_t k = 0; k < *r->n_fields; k++) field_row(b, &r->field[k]);
    }
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

static json_t *route_json(const Route *r) {
    json_t *o = json_pack("{s:s, s:{s:{s:s}, s:{s:s}}}", "summary", r->what, "responses", "200",
                          "description", "the answer", "default", "description",
                          "an error, in the shape of the route's family");
    if (r->field) json_object_set_new(o, "requestBody", body_schema(r));
    if (r->open) json_object_set_new(o, "security", json_array());
    if (str_ends(str_of(r->path), STR("*")))
        json_object_set_new(o, "parameters",
                            json_pack("[{s:s, s:s, s:b, s:{s:s}}]", "name", "id", "in", "path",
                                      "required", 1, "schema", "type", "string"));
    return o;
}

void answer_openapi(Call *c) {
    json_t *paths = json_object();
    for (int64_t i = 0; i < c->n_routes; i++) {
        const Route *r = &c->routes[i];
        const Str path = str_of(r->path);
        const bool id = str_ends(path, STR("*"));
        const char *name = str_fmt(c->a, "%.*s%s", (int)(path.n - id), path.p, id ? "{id}" : "").p;
        json_t *methods = json_object_get(paths, name);
        if (!methods) json_object_set_new(paths, name, methods = json_object());
        json_object_set_new(methods,
                            *r->method == 'P'   ? "post"
                            : *r->method == 'D' ? "delete"
                                                : "get",
                            route_json(r));
    }
    answer_json(
        c, json_pack("{s:s, s:{s:s, s:s}, s:[{s:s}], s:o, s:{s:{s:{s:s, s:s}}}, s:[{s:[]}]}",
                     "openapi", "3.1.0", "info", "title", "Lisao", "version", c->api->spec->version,
                     "servers", "url", "/v1", "paths", paths, "components", "securitySchemes",
                     "key", "type", "http", "scheme", "bearer", "security", "key"));
}
