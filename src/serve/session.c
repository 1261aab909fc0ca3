/* session.c -- the routes that are about keys: signing a browser in by a link, whose key one has,
 * and what all of them have used. Of conversations they know nothing. */
#include "serve/api.h"

#include <time.h>

const Field session_fields[] = {
    {"link", FIELD_TEXT, P(link), 0, 0, "The token of the link, which is behind its #t=.", NULL},
};
const int64_t n_session_fields = COUNT(session_fields);

const char session_types[] =
    "type SignedIn = {object: 'session'; key: string; name: string; scopes: string[]};\n"
    "type Session = {object: 'session'; name: string; scopes: string[]};\n"
    "type UsageReport = {object: 'usage'; from: string; to: string; keys: KeyUsage[]};\n"
    "type KeyUsage = {id: integer; name: string; tenant: string; active: boolean; days: "
    "KeyDay[]};\n"
    "type KeyDay = {day: string; requests: integer; tokens_in: integer; tokens_cached: integer;\n"
    "  tokens_out: integer; refused: integer};\n";

static json_t *scopes_json(Arena *a, int64_t scopes) {
    json_t *all = json_array();
    for (Str text = scopes_text(a, scopes); text.n > 0;)
        json_array_append_new(all, json_of(str_cut(&text, ',')));
    return all;
}

static void store_fault(Call *c, const Err *err) {
    log_at(LOG_ERROR, "the keys: %s", err->msg);
    fault_set(&c->fault, 500, "server_error", "storage_failed", NULL,
              "the server's keys could not be read or written");
}

/* ---- signing in ------------------------------------------------------------------------------ */

static const struct {
    int64_t status;
    const char *code, *message;
} refusals[] = {
    [LINK_UNKNOWN] = {404, "link_unknown",
                      "this is no link of this server: is it whole, and of this address?"},
    [LINK_USED] = {410, "link_used",
                   "the link was used already, and is good once: `lisao keys link` makes another"},
    [LINK_EXPIRED] = {410, "link_expired", "the link has expired: `lisao keys link` makes another"},
    [LINK_REVOKED] = {410, "link_revoked", "the link, or the key that it is for, was revoked"},
};

void answer_session_begin(Call *c) {
    char text[KEY_TEXT];
    Err err = {0};
    Key key;
    LinkState state = LINK_UNKNOWN;
    if (!members_read(c, session_fields, n_session_fields)) return;
    if (c->api->gate && !links_use(gate_keys(c->api->gate), c->p.link, &state, &key, text, &err)) {
        store_fault(c, &err);
        return;
    }
    if (state != LINK_OPEN) {
        fault_set(&c->fault, refusals[state].status, "invalid_request_error", refusals[state].code,
                  "link", "%s", refusals[state].message);
        return;
    }
    ExchangeNote *note = exchange_note(c->x);
    note->key = key.id;
    snprintf(note->tenant, sizeof note->tenant, "%s", key.tenant);
    answer_json(c, json_pack("{s:s, s:s, s:s, s:o}", "object", "session", "key", text, "name",
                             key.name, "scopes", scopes_json(c->a, key.scopes)));
}

/* Without a store of keys nobody has a scope. */
void answer_session(Call *c) {
    answer_json(c, json_pack("{s:s, s:s, s:o}", "object", "session", "name", c->key.name, "scopes",
                             scopes_json(c->a, c->key.scopes)));
}

/* ---- what was used --------------------------------------------------------------------------- */

enum { DAY = 86400, DAYS = 30, DAYS_MOST = 366, DATE = 16 };

static void date(char to[DATE], int64_t day) {
    const time_t at = (time_t)(day * DAY);
    struct tm utc = {.tm_year = 70, .tm_mday = 1};
    gmtime_r(&at, &utc);
    strftime(to, DATE, "%Y-%m-%d", &utc);
}

static bool days_read(Call *c, int64_t *days) {
    const Str text = exchange_member(c->x, "days");
    *days = DAYS;
    return !text.p || (str_i64(text, days) && *days >= 1 && *days <= DAYS_MOST)
           || fault_value(&c->fault, "days", "days must be a number from 1 to %d", DAYS_MOST);
}

static json_t *day_json(const UsageDay *d) {
    char day[DATE];
    date(day, d->day);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "day", day, "requests",
                     (json_int_t)d->usage.requests, "tokens_in", (json_int_t)d->usage.tokens_in,
                     "tokens_cached", (json_int_t)d->usage.tokens_cached, "tokens_out",
                     (json_int_t)d->usage.tokens_out, "refused", (json_int_t)d->usage.refused);
}

static json_t *key_json(const Key *k, int64_t now, const UsageDay *day, int64_t n) {
    json_t *days = json_array();
    for (int64_t i = 0; i < n; i++)
        if (day[i].key == k->id) json_array_append_new(days, day_json(&day[i]));
    const bool active = !k->revoked && (!k->expires || k->expires > now);
    return json_pack("{s:I, s:s, s:s, s:b, s:o}", "id", (json_int_t)k->id, "name", k->name,
                     "tenant", k->tenant, "active", active, "days", days);
}

void answer_usage(Call *c) {
    const int64_t today = c->now / DAY;
    char from[DATE], to[DATE];
    int64_t days, n_keys, n;
    Key *key;
    UsageDay *day;
    Err err = {0};
    if (!c->api->gate) {
        fault_set(&c->fault, 404, "invalid_request_error", "no_usage", NULL,
                  "this server has no store of keys, and so counts no usage of any");
        return;
    }
    if (!days_read(c, &days)) return;
    Keys *keys = gate_keys(c->api->gate);
    if (!keys_list(keys, c->a, &key, &n_keys, &err)
        || !usage_show(keys, c->a, 0, today - days + 1, &day, &n, &err)) {
        store_fault(c, &err);
        return;
    }
    json_t *all = json_array();
    for (int64_t i = 0; i < n_keys; i++)
        json_array_append_new(all, key_json(&key[i], c->now, day, n));
    date(from, today - days + 1), date(to, today);
    answer_json(c, json_pack("{s:s, s:s, s:s, s:o}", "object", "usage", "from", from, "to", to,
                             "keys", all));
}
