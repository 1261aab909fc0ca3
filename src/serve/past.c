/* past.c -- the routes of the history: conversations of the key's tenant. Nobody else's are reached
 * by any of them. */
#include "serve/api.h"
#include "serve/history.h"

enum { ID_MOST = 64, WORDS_MOST = 16 };

const Field history_fields[] = {
    {"conversations", FIELD_JSON, P(conversations), 0, 0,
     "Conversations to be written, each with an id; what else they say is kept as it is.",
     "{\"type\":\"array\"}"},
    {"messages", FIELD_JSON, P(messages), 0, 0,
     "Messages to be written, each with id, conversation, parent (null: it is a first one) and "
     "text. All that is sent is written, or nothing.",
     "{\"type\":\"array\"}"},
};
const Field search_fields[] = {
    {"words", FIELD_JSON, P(words), 0, 0,
     "Up to 16 words that are all in one message: beginnings of words, and of Chinese, Japanese "
     "and Korean any part.",
     "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"},
};
const int64_t n_history_fields = COUNT(history_fields), n_search_fields = COUNT(search_fields);

static Str tenant_of(const Call *c) { return str_of(c->key.tenant); }

static History *history_of(Call *c) {
    if (!c->api->history)
        fault_set(&c->fault, 404, "invalid_request_error", "no_history", NULL,
                  "this server keeps no conversations");
    return c->api->history;
}

/* ---- answers --------------------------------------------------------------------------------- */

const char history_types[] =
    "type Conversations = {object: 'list'; data: Conversation[]};\n"
    "type Conversation = {id: string; [name: string]: any};\n"
    "type ConversationMessages = {object: 'list'; data: ConversationMessage[]};\n"
    "type ConversationMessage = {id: string; conversation: string; parent?: string | null;\n"
    "  text: string; [name: string]: any};\n"
    "type Found = {object: 'list'; data: {conversation: string; excerpt: string}[]};\n"
    "type Export = {format: 'lisao-conversations'; version: 1;\n"
    "  conversations: {id: string; messages: ConversationMessage[]; [name: string]: any}[]};\n"
    "type Written = {written: integer};\n"
    "type Removed = {removed: integer};\n";

/* What an Err of the store is to whoever asked; its path is nobody's business. */
static void store_fault(Call *c, const Err *err) {
    if (err->code == ERR_USAGE) {
        fault_value(&c->fault, "messages", "a message's conversation or parent is not there");
        return;
    }
    log_at(LOG_ERROR, "the history: %s", err->msg);
    if (err->code == ERR_LIMIT)
        fault_set(&c->fault, 507, "server_error", "storage_full", NULL,
                  "the server's disk is full: nothing of this request was written");
    else
        fault_set(&c->fault, 500, "server_error", "storage_failed", NULL,
                  "the server's history could not be read or written");
}

static void answer_buf(Call *c, bool fine, Buf *b, const char *end, const Err *err) {
    if (c->fault.status) return;
    if (!fine) {
        store_fault(c, err);
        return;
    }
    buf_add(b, str_of(end));
    exchange_answer(c->x, 200, "application/json", buf_str(b));
}

void answer_history(Call *c) {
    Buf b = {.a = c->a};
    Err err = {0};
    if (!history_of(c)) return;
    buf_add(&b, STR("{\"object\":\"list\",\"data\":["));
    answer_buf(c, history_list(c->api->history, tenant_of(c), &b, &err), &b, "]}", &err);
}

void answer_history_export(Call *c) {
    Buf b = {.a = c->a};
    Err err = {0};
    if (!history_of(c)) return;
    buf_add(&b, STR("{\"format\":\"lisao-conversations\",\"version\":1,\"conversations\":["));
    answer_buf(c, history_export(c->api->history, tenant_of(c), &b, &err), &b, "]}\n", &err);
}

static Str id_of_path(const Call *c) { return (Str){c->path.p + 9, c->path.n - 9}; } /* /history/ */

static void not_there(Call *c) {
    fault_set(&c->fault, 404, "invalid_request_error", "conversation_not_found", NULL,
              "there is no conversation '%.*s'", STRF(id_of_path(c)));
}

void answer_history_read(Call *c) {
    Buf b = {.a = c->a};
    Err err = {0};
    bool known = false;
    if (!history_of(c)) return;
    buf_add(&b, STR("{\"object\":\"list\",\"data\":["));
    const bool fine = history_read(c->api->history, tenant_of(c), id_of_path(c), &b, &known, &err);
    if (fine && !known) not_there(c);
    answer_buf(c, fine, &b, "]}", &err);
}

static void removed(Call *c, Str id) {
    Err err = {0};
    int64_t n;
    if (!history_of(c)) return;
    if (!history_remove(c->api->history, tenant_of(c), id, &n, &err))
        store_fault(c, &err);
    else if (id.p && n == 0)
        not_there(c);
    else
        answer_json(c, json_pack("{s:I}", "removed", (json_int_t)n));
}

void answer_history_remove(Call *c) { removed(c, id_of_path(c)); }
void answer_history_clear(Call *c) { removed(c, (Str){0}); }

/* ---- writing --------------------------------------------------------------------------------- */

static Str text_of(const json_t *o, const char *name) {
    return json_text(json_object_get(o, name));
}

static bool id_read(Call *c, Str *id, const json_t *o, const char *name) {
    *id = text_of(o, name);
    bool fine = id->p && id->n > 0 && id->n <= ID_MOST;
    for (int64_t i = 0; fine && i < id->n; i++)
        fine =
            char_in(id->p[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
    return fine
           || fault_value(&c->fault, name,
                          "%s must be 1 to %d letters, digits, '-' or '_' of ASCII", name, ID_MOST);
}

static bool body_take(Call *c, HistoryItem *i, const json_t *o) {
    char *text = json_dumps(o, JSON_COMPACT);
    if (text) i->body = str_copy(c->a, str_of(text));
    free(text);
    return i->body.p || fault_value(&c->fault, NULL, "an item cannot be written as JSON");
}

/* In an export its messages stand in it. */
static bool conversation_read(Call *c, HistoryItem *i, const json_t *o) {
    if (json_object_get(o, "messages"))
        return fault_value(&c->fault, "messages",
                           "the messages of a conversation are a list of their own beside it");
    return id_read(c, &i->conversation, o, "id") && body_take(c, i, o);
}

/* An answer that still comes is written each second: it is found once it is whole. */
static bool message_read(Call *c, HistoryItem *i, const json_t *o) {
    const json_t *parent = json_object_get(o, "parent");
    if (!id_read(c, &i->conversation, o, "conversation") || !id_read(c, &i->id, o, "id")
        || (parent && !json_is_null(parent) && !id_read(c, &i->parent, o, "parent")))
        return false;
    i->text = text_of(o, "text");
    if (!i->text.p) return fault_value(&c->fault, "text", "text must be a string");
    if (str_eq(text_of(o, "state"), STR("writing"))) i->text = STR("");
    return body_take(c, i, o);
}

static bool items_read(Call *c, HistoryItem *item, int64_t *n, const json_t *list,
                       bool (*read)(Call *c, HistoryItem *i, const json_t *o)) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        item[*n] = (HistoryItem){0};
        if (!json_is_object(o))
            return fault_value(&c->fault, NULL, "conversations and messages are lists of objects");
        if (!read(c, &item[(*n)++], o)) return false;
    }
    return true;
}

void answer_history_put(Call *c) {
    Err err = {0};
    if (!history_of(c) || !members_read(c, history_fields, n_history_fields)) return;
    const size_t most = json_array_size(c->p.conversations) + json_array_size(c->p.messages);
    HistoryItem *item = PUSH(c->a, HistoryItem, (int64_t)most + 1);
    int64_t n = 0;
    if (!items_read(c, item, &n, c->p.conversations, conversation_read)
        || !items_read(c, item, &n, c->p.messages, message_read))
        return;
    if (history_put(c->api->history, tenant_of(c), item, n, &err))
        answer_json(c, json_pack("{s:I}", "written", (json_int_t)n));
    else
        store_fault(c, &err);
}

/* ---- search ---------------------------------------------------------------------------------- */

void answer_history_search(Call *c) {
    Buf b = {.a = c->a};
    Err err = {0};
    Str word[WORDS_MOST];
    int64_t n = 0;
    if (!history_of(c) || !members_read(c, search_fields, n_search_fields)) return;
    for (size_t i = 0; i < json_array_size(c->p.words) && n < WORDS_MOST; i++) {
        word[n] = json_text(json_array_get(c->p.words, i));
        n += word[n].n > 0;
    }
    buf_add(&b, STR("{\"object\":\"list\",\"data\":["));
    answer_buf(c, history_search(c->api->history, tenant_of(c), word, n, &b, &err), &b, "]}", &err);
}
