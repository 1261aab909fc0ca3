/* cmd_keys.c -- `lisao keys create|list|revoke|rotate|link|unlink|usage`. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>
#include <time.h>

#include "serve/serve.h"

typedef struct KeysSpec {
    const char *data, *tenant, *scopes, *url;
    Key key;
    int64_t valid_days, days, hours;
    bool json;
} KeysSpec;

enum { DAY = 86400, HOUR = 3600 };

/* "2026-11-30", "never" for 0. */
static const char *day_text(Arena *a, int64_t seconds) {
    const time_t at = (time_t)seconds;
    struct tm t;
    if (!seconds || !gmtime_r(&at, &t)) return "never";
    return str_fmt(a, "%04d-%02d-%02d", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday).p;
}

/* "2026-11-30 17:05 UTC" */
static const char *minute_text(Arena *a, int64_t seconds) {
    const int64_t minute = seconds / 60;
    return str_fmt(a, "%s %02lld:%02lld UTC", day_text(a, seconds), (long long)(minute / 60 % 24),
                   (long long)(minute % 60))
        .p;
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

/* Those of one key. */
static json_t *links_json(const KeyLink *link, int64_t n) {
    json_t *all = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(
            all,
            json_pack("{s:I, s:I, s:I, s:I, s:I}", "id", (json_int_t)link[i].id, "created",
                      (json_int_t)link[i].created, "expires", (json_int_t)link[i].expires, "used",
                      (json_int_t)link[i].used, "revoked", (json_int_t)link[i].revoked));
    return all;
}

static json_t *key_json(Arena *a, const Key *k, const KeyLink *link, int64_t n) {
    return json_pack(
        "{s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:o}", "id",
        (json_int_t)k->id, "name", path_shown(a, k->name), "tenant", path_shown(a, k->tenant),
        "scopes", scopes_text(a, k->scopes).p, "requests_minute",
        (json_int_t)k->limits.requests_minute, "tokens_minute", (json_int_t)k->limits.tokens_minute,
        "tokens_day", (json_int_t)k->limits.tokens_day, "concurrent",
        (json_int_t)k->limits.concurrent, "weight", k->limits.weight, "created",
        (json_int_t)k->created, "used", (json_int_t)k->used, "revoked", (json_int_t)k->revoked,
        "expires", (json_int_t)k->expires, "links", links_json(link, n));
}

static void link_print(Arena *a, const KeyLink *l) {
    const bool open = l->expires > os_time();
    printf("      link %lld, made %s, ", (long long)l->id, day_text(a, l->created));
    if (l->used)
        printf("signed a browser in on %s%s", day_text(a, l->used), l->revoked ? ", " : "");
    if (l->revoked)
        printf("revoked %s", day_text(a, l->revoked));
    else if (!l->used)
        printf("%s %s", open ? "open until" : "expired", minute_text(a, l->expires));
    printf("\n");
}

static void key_print(Arena *a, const Key *k, const KeyLink *link, int64_t n) {
    printf("%4lld  %-20s %-12s %-20s created %s, used %s, %s %s\n", (long long)k->id,
           path_shown(a, k->name), path_shown(a, k->tenant), scopes_text(a, k->scopes).p,
           day_text(a, k->created), day_text(a, k->used), k->revoked ? "revoked" : "expires",
           day_text(a, k->revoked ? k->revoked : k->expires));
    for (int64_t i = 0; i < n; i++) link_print(a, &link[i]);
}

static void usage_print(Arena *a, const UsageDay *u) {
    printf("%s  key %lld: %lld requests, %lld tokens in (%lld cached), %lld out",
           day_text(a, u->day * DAY), (long long)u->key, (long long)u->usage.requests,
           (long long)u->usage.tokens_in, (long long)u->usage.tokens_cached,
           (long long)u->usage.tokens_out);
    if (u->usage.refused) printf("; %lld refused", (long long)u->usage.refused);
    printf("\n");
}

static json_t *usage_json(Arena *a, const UsageDay *u) {
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "day", day_text(a, u->day * DAY), "key",
                     (json_int_t)u->key, "requests", (json_int_t)u->usage.requests, "tokens_in",
                     (json_int_t)u->usage.tokens_in, "tokens_cached",
                     (json_int_t)u->usage.tokens_cached, "tokens_out",
                     (json_int_t)u->usage.tokens_out, "refused", (json_int_t)u->usage.refused);
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
    KeyLink *link;
    int64_t n, n_links;
    (void)none;
    if (!keys_list(k, a, &key, &n, err) || !links_list(k, a, &link, &n_links, err)) return false;
    json_t *all = json_array();
    for (int64_t i = 0, at = 0, end = 0; i < n; i++, at = end) {
        while (end < n_links && link[end].key == key[i].id) end++;
        if (o->json)
            json_array_append_new(all, key_json(a, &key[i], &link[at], end - at));
        else
            key_print(a, &key[i], &link[at], end - at);
    }
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

/* The key of this id, or the one of this name that is in use. */
static bool key_find(Keys *k, Arena *a, const char *word, int64_t *id, Err *err) {
    Key *key;
    int64_t n, found = 0;
    const int64_t now = os_time();
    if (str_i64(str_of(word), id) && *id > 0) return true;
    if (!keys_list(k, a, &key, &n, err)) return false;
    for (int64_t i = 0; i < n; i++) {
        if (strcmp(key[i].name, word) || key[i].revoked) continue;
        if (key[i].expires && key[i].expires <= now) continue;
        if (found++)
            return err_set(err, ERR_USAGE,
                           "keys %lld and %lld are both called \"%s\": say which, by its id",
                           (long long)*id, (long long)key[i].id, word);
        *id = key[i].id;
    }
    return found
           || err_set(err, ERR_USAGE,
                      "no key that is in use is called \"%s\" (`lisao keys list` shows all, `lisao "
                      "keys create %s` makes one)",
                      word, word);
}

/* Where a link begins, without a '/' at its end. */
static bool url_take(Str *url, const char *text, Err *err) {
    *url = str_of(text);
    const bool http = str_starts(*url, STR("http://")) || str_starts(*url, STR("https://"));
    for (int64_t i = 0; i < url->n; i++)
        if (!http || (uint8_t)url->p[i] <= ' ' || char_in(url->p[i], "#?\x7f"))
            return err_set(err, ERR_USAGE,
                           "--url should be the address of the service, such as "
                           "https://lisao.example.org, not \"%s\"",
                           text);
    while (url->n > 0 && url->p[url->n - 1] == '/') url->n--;
    return true;
}

static bool link_make(Keys *k, Arena *a, KeysSpec *o, const char *word, Err *err) {
    char token[KEY_TEXT];
    KeyLink l = {.expires = os_time() + o->hours * HOUR};
    Str url;
    if (!url_take(&url, o->url, err) || !key_find(k, a, word, &l.key, err)
        || !links_create(k, &l, token, err))
        return false;
    const char *whole = str_fmt(a, "%.*s/#t=%s", (int)url.n, url.p, token).p;
    if (o->json) {
        json_show(json_pack("{s:I, s:I, s:s, s:I}", "id", (json_int_t)l.id, "key",
                            (json_int_t)l.key, "url", whole, "expires", (json_int_t)l.expires));
        return true;
    }
    printf("%s\n", whole);
    fprintf(stderr,
            "link %lld signs one browser in as key %lld, once, until %s; `lisao keys unlink %lld` "
            "ends it\n",
            (long long)l.id, (long long)l.key, minute_text(a, l.expires), (long long)l.id);
    return true;
}

static bool link_end(Keys *k, Arena *a, KeysSpec *o, const char *word, Err *err) {
    int64_t id;
    (void)a;
    if (!str_i64(str_of(word), &id) || id <= 0)
        return err_set(err, ERR_USAGE, "\"%s\" is no id of a link (`lisao keys list` shows them)",
                       word);
    if (!links_revoke(k, id, err)) return false;
    if (o->json)
        json_show(json_pack("{s:I}", "unlinked", (json_int_t)id));
    else
        printf("link %lld is revoked, and whom it has let in is out\n", (long long)id);
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
} deeds[] = {{"create", 0, 1, create}, {"list", 0, 0, list},      {"revoke", 1, 1, revoke},
             {"rotate", 1, 1, rotate}, {"link", 1, 1, link_make}, {"unlink", 1, 1, link_end},
             {"usage", 0, 1, usage}};

/* The deed that the words name, with as many operands as it takes; NULL with an Err. */
static const struct Deed *deed_find(int argc, char **argv, Err *err) {
    const struct Deed *d = deeds;
    while (argc > 1 && d < deeds + COUNT(deeds) && strcmp(d->name, argv[1]) != 0) d++;
    if (argc < 2 || d == deeds + COUNT(deeds)) {
        err_set(err, ERR_USAGE,
                "say what to do: create [NAME], list, revoke ID, rotate ID, link NAME|ID, unlink "
                "LINK, usage [ID]");
        return NULL;
    }
    if (argc - 2 >= d->least && argc - 2 <= d->most) return d;
    err_set(err, ERR_USAGE, "`lisao keys %s` takes %s", d->name,
            d->most == 0          ? "no further word"
            : d->run == link_make ? "the name or the id of one key"
            : d->run == link_end  ? "the id of one link"
            : d->least > 0        ? "the id of one key"
                                  : "one word at most");
    return NULL;
}

int cmd_keys(int argc, char **argv) {
    KeysSpec o = {.tenant = "",
                  .scopes = "chat,embeddings",
                  .url = "http://127.0.0.1:8080",
                  .days = 30,
                  .hours = 24,
                  .key.limits.weight = 1};
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
        TEXT_OPT("url", "URL", &o.url, "link: the address by which the service is reached."),
        NUMBER_OPT(OPT_I64, "hours", "N", &o.hours, "link: it can be used for so long.", 1, 8760),
        NUMBER_OPT(OPT_I64, "days", "N", &o.days, "usage: how many days, today included.", 1,
                   36500),
    };
    const Command c = {
        "keys",
        "create|list|revoke|rotate|link|unlink|usage [NAME|ID]",
        "make, list and revoke keys of the service",
        "Keys say who may use the service, for what and how much. `create` prints a new key, the "
        "only time that it is shown: what is stored is a hash. `revoke` refuses a key from now on, "
        "for good; `rotate` prints another one in its place, with the same id and limits. `link` "
        "prints a link that signs one browser in, once, within a day, without anybody seeing a "
        "key: what the browser does counts as the key's, and ends with it, or alone by `unlink`. "
        "`usage` prints requests and tokens of each day. A running service heeds all of it at "
        "once.",
        "lisao keys create laptop --tokens-day 1000000\nlisao keys list --json\n"
        "lisao keys link laptop --url https://lisao.example.org\n"
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
