/* cmd_keys.c -- `lisao keys create|list|revoke|rotate|usage`. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>
#include <time.h>

#include "serve/serve.h"

typedef struct KeysSpec {
    const char *data, *tenant, *scopes;
    Key key;
    int64_t valid_days, days;
    bool json;
} KeysSpec;

enum { DAY = 86400 };

/* "2026-11-30", "never" for 0. */
static const char *day_text(Arena *a, int64_t seconds) {
    const time_t at = (time_t)seconds;
    struct tm t;
    if (!seconds || !gmtime_r(&at, &t)) return "never";
    return str_fmt(a, "%04d-%02d-%02d", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday).p;
}

static bool name_take(char to[KEY_NAME], const char *what, const char *text, Err *err) {
    if (strlen(text) >= KEY_NAME)
        return err_set(err, ERR_USAGE, "the %s has more than %d bytes", what, KEY_NAME - 1);
    snprintf(to, KEY_NAME, "%s", text);
    return true;
}

static bool id_take(int64_t *id, const char *text, Err *err) {
    return (str_i64(str_of(text), id) && *id > 0)
           || err_set(err, ERR_USAGE, "\"%s\" is no id of a key (`lisao keys list` shows them)",
                      text);
}

/* ---- what is shown --------------------------------------------------------------------------- */

static void text_print(const KeysSpec *o, int64_t id, const char *text) {
    if (o->json) {
        json_show(json_pack("{s:I, s:s}", "id", (json_int_t)id, "key", text));
        return;
    }
    printf("%s\n", text);
    fprintf(stderr, "key %lld; it is shown this once, and stored only as a hash\n", (long long)id);
}

static json_t *key_json(Arena *a, const Key *k) {
    return json_pack("{s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I}", "id",
                     (json_int_t)k->id, "name", path_shown(a, k->name), "tenant",
                     path_shown(a, k->tenant), "scopes", scopes_text(a, k->scopes).p,
                     "requests_minute", (json_int_t)k->limits.requests_minute, "tokens_minute",
                     (json_int_t)k->limits.tokens_minute, "tokens_day",
                     (json_int_t)k->limits.tokens_day, "concurrent",
                     (json_int_t)k->limits.concurrent, "weight", k->limits.weight, "created",
                     (json_int_t)k->created, "used", (json_int_t)k->used, "revoked",
                     (json_int_t)k->revoked, "expires", (json_int_t)k->expires);
}

static void key_print(Arena *a, const Key *k) {
    printf("%4lld  %-20s %-12s %-20s created %s, used %s, %s %s\n", (long long)k->id,
           path_shown(a, k->name), path_shown(a, k->tenant), scopes_text(a, k->scopes).p,
           day_text(a, k->created), day_text(a, k->used), k->revoked ? "revoked" : "expires",
           day_text(a, k->revoked ? k->revoked : k->expires));
}

static void usage_print(Arena *a, const UsageDay *u) {
    printf("%s  key %lld: %lld requests, %lld tokens in (%lld cached), %lld out\n",
           day_text(a, u->day * DAY), (long long)u->key, (long long)u->usage.requests,
           (long long)u->usage.tokens_in, (long long)u->usage.tokens_cached,
           (long long)u->usage.tokens_out);
}

static json_t *usage_json(Arena *a, const UsageDay *u) {
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "day", day_text(a, u->day * DAY), "key",
                     (json_int_t)u->key, "requests", (json_int_t)u->usage.requests, "tokens_in",
                     (json_int_t)u->usage.tokens_in, "tokens_cached",
                     (json_int_t)u->usage.tokens_cached, "tokens_out",
                     (json_int_t)u->usage.tokens_out);
}

/* ---- what is done ---------------------------------------------------------------------------- */

static bool create(Keys *k, Arena *a, KeysSpec *o, const char *name, Err *err) {
    char text[KEY_TEXT];
    (void)a;
    if (!name_take(o->key.name, "name", name ? name : "", err)
        || !name_take(o->key.tenant, "tenant", o->tenant, err)
        || !scopes_parse(&o->key.scopes, str_of(o->scopes), err))
        return false;
    if (o->valid_days) o->key.expires = os_time() + o->valid_days * DAY;
    if (!keys_create(k, &o->key, text, err)) return false;
    text_print(o, o->key.id, text);
    return true;
}

static bool list(Keys *k, Arena *a, KeysSpec *o, const char *none, Err *err) {
    Key *key;
    int64_t n;
    (void)none;
    if (!keys_list(k, a, &key, &n, err)) return false;
    json_t *all = json_array();
    for (int64_t i = 0; i < n; i++)
        if (o->json)
            json_array_append_new(all, key_json(a, &key[i]));
        else
            key_print(a, &key[i]);
    if (o->json)
        json_show(json_incref(all));
    else if (n == 0)
        printf("no keys yet: `lisao keys create NAME` makes one\n");
    json_decref(all);
    return true;
}

static bool revoke(Keys *k, Arena *a, KeysSpec *o, const char *id, Err *err) {
    (void)a;
    if (!id_take(&o->key.id, id, err) || !keys_revoke(k, o->key.id, err)) return false;
    if (o->json)
        json_show(json_pack("{s:I}", "revoked", (json_int_t)o->key.id));
    else
        printf("key %lld is revoked\n", (long long)o->key.id);
    return true;
}

static bool rotate(Keys *k, Arena *a, KeysSpec *o, const char *id, Err *err) {
    char text[KEY_TEXT];
    (void)a;
    if (!id_take(&o->key.id, id, err) || !keys_rotate(k, o->key.id, text, err)) return false;
    text_print(o, o->key.id, text);
    return true;
}

static bool usage(Keys *k, Arena *a, KeysSpec *o, const char *id, Err *err) {
    UsageDay *day;
    int64_t n;
    if (id && !id_take(&o->key.id, id, err)) return false;
    const int64_t from = os_time() / DAY - o->days + 1;
    if (!usage_show(k, a, o->key.id, from, &day, &n, err)) return false;
    json_t *all = json_array();
    for (int64_t i = 0; i < n; i++)
        if (o->json)
            json_array_append_new(all, usage_json(a, &day[i]));
        else
            usage_print(a, &day[i]);
    if (o->json)
        json_show(json_incref(all));
    else if (n == 0)
        printf("nothing was used in these %lld days\n", (long long)o->days);
    json_decref(all);
    return true;
}

static const struct Deed {
    const char *name;
    int least, most; /* operands */
    bool (*run)(Keys *k, Arena *a, KeysSpec *o, const char *operand, Err *err);
} deeds[] = {{"create", 0, 1, create},
             {"list", 0, 0, list},
             {"revoke", 1, 1, revoke},
             {"rotate", 1, 1, rotate},
             {"usage", 0, 1, usage}};

/* The deed that the words name, with as many operands as it takes; NULL with an Err. */
static const struct Deed *deed_find(int argc, char **argv, Err *err) {
    const struct Deed *d = deeds;
    while (argc > 1 && d < deeds + COUNT(deeds) && strcmp(d->name, argv[1]) != 0) d++;
    if (argc < 2 || d == deeds + COUNT(deeds)) {
        err_set(err, ERR_USAGE,
                "say what to do: create [NAME], list, revoke ID, rotate ID, usage [ID]");
        return NULL;
    }
    if (argc - 2 >= d->least && argc - 2 <= d->most) return d;
    err_set(err, ERR_USAGE, "`lisao keys %s` takes %s", d->name,
            d->most == 0   ? "no further word"
            : d->least > 0 ? "the id of one key"
                           : "one word at most");
    return NULL;
}

int cmd_keys(int argc, char **argv) {
    KeysSpec o = {.tenant = "", .scopes = "chat,embeddings", .days = 30, .key.limits.weight = 1};
    KeyLimits *l = &o.key.limits;
    const double most = 1e15;
    const Opt opts[] = {
        DATA_OPT(&o.data),
        FLAG_OPT("json", &o.json, "Print JSON."),
        TEXT_OPT("tenant", "NAME", &o.tenant, "create: whom it belongs to; tenants share evenly."),
        TEXT_OPT("scopes", "LIST", &o.scopes,
                 "create: what it is for, of chat, embeddings, files, admin, train:read, "
                 "train:write, metrics."),
        NUMBER_OPT(OPT_I64, "requests-minute", "N", &l->requests_minute,
                   "create: most requests a minute; 0: no limit.", 0, most),
        NUMBER_OPT(OPT_I64, "tokens-minute", "N", &l->tokens_minute,
                   "create: most tokens a minute, read and written; 0: no limit.", 0, most),
        NUMBER_OPT(OPT_I64, "tokens-day", "N", &l->tokens_day,
                   "create: most tokens a day; 0: no limit.", 0, most),
        NUMBER_OPT(OPT_I64, "concurrent", "N", &l->concurrent,
                   "create: most requests at a time; 0: no limit.", 0, 1e6),
        NUMBER_OPT(OPT_F64, "weight", "X", &l->weight,
                   "create: its share beside others when all want more than there is.", 0.01, 100),
        NUMBER_OPT(OPT_I64, "valid-days", "N", &o.valid_days,
                   "create: it expires after so many days; 0: never.", 0, 36500),
        NUMBER_OPT(OPT_I64, "days", "N", &o.days, "usage: how many days, today included.", 1,
                   36500),
    };
    const Command c = {
        "keys",
        "create|list|revoke|rotate|usage [NAME|ID]",
        "make, list and revoke keys of the service",
        "Keys say who may use the service, for what and how much. `create` prints a new key, the "
        "only time that it is shown: what is stored is a hash. `revoke` refuses a key from now on, "
        "for good; `rotate` prints another one in its place, with the same id and limits. `usage` "
        "prints requests and tokens of each day. A running service heeds all of it at once.",
        "lisao keys create laptop --tokens-day 1000000\nlisao keys list --json\n"
        "lisao keys revoke 2\nlisao keys usage 2 --days 7\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    Arena *a = arena_open("keys", ARENA_NO_LIMIT);
    Keys *k = NULL;
    const struct Deed *d = deed_find(argc, argv, &err);
    const bool fine =
        d && keys_open(&k, a, o.data, &err) && d->run(k, a, &o, argc > 2 ? argv[2] : NULL, &err);
    code = fine ? 0 : command_failed(&c, &err);
    keys_close(k);
    arena_close(a);
    return code;
}
