/* cmd_tokenize.c -- `lisao tokenize`: text and conversations to ids and back, one JSON object a
 * line, answered as the lines come. */
#include "cli/lines.h"
#include "cli/request.h"

typedef struct Job {
    const char *text;
    bool jsonl, chat, plain, back;
    Arena *line; /* what one line needs */
    Arena *scratch;
    const Bundle *bundle;
    int64_t number; /* of the line, for messages */
} Job;

/* Bytes that are not UTF-8, as a damaged template has them, become U+FFFD. */
static json_t *json_text(Arena *a, Str s) {
    Buf whole = {.a = a};
    for (int n; s.n > 0; s.p += MAX(n, 1), s.n -= MAX(n, 1)) {
        n = utf8_length(s);
        buf_add(&whole, n > 0 ? (Str){s.p, n} : STR("\xef\xbf\xbd"));
    }
    return json_stringn(whole.p ? whole.p : "", (size_t)whole.n);
}

static void print_ids(const Ids *ids) {
    for (int64_t i = 0; i < ids->n; i++) printf(i ? ", %d" : "%d", ids->v[i]);
}

static bool encode(const Job *job, Str text, Ids *ids, Err *err) {
    TextMode mode = job->plain ? TEXT_PLAIN : TEXT_PARSED;
    return text_encode(ids, job->bundle->tok, text, mode, job->scratch, err);
}

static bool encode_line(const Job *job, const json_t *object, Err *err) {
    const json_t *text = json_object_get(object, "text");
    Ids ids = {.a = job->line};
    if (!json_is_string(text))
        return err_set(err, ERR_FORMAT, "line %lld: expected {\"text\": \"...\"}",
                       (long long)job->number);
    Str s = {json_string_value(text), (int64_t)json_string_length(text)};
    if (!encode(job, s, &ids, err)) return false;
    printf("{\"ids\": [");
    print_ids(&ids);
    printf("]}\n");
    return true;
}

static bool decode_line(const Job *job, const json_t *object, Err *err) {
    const Tokenizer *tok = job->bundle->tok;
    const json_t *list = json_object_get(object, "ids");
    int64_t n = (int64_t)json_array_size(list);
    int32_t *ids = PUSH(job->line, int32_t, n + 1);
    bool ok = json_is_array(list);
    for (int64_t i = 0; ok && i < n; i++) {
        const json_t *id = json_array_get(list, (size_t)i);
        json_int_t v = json_integer_value(id);
        ok = json_is_integer(id) && v >= 0 && v < tokenizer_size(tok);
        ids[i] = (int32_t)v;
    }
    if (!ok)
        return err_set(err, ERR_FORMAT,
                       "line %lld: expected {\"ids\": [...]} with ids from 0 to %lld",
                       (long long)job->number, (long long)tokenizer_size(tok) - 1);
    Buf text = {.a = job->line};
    text_decode(&text, tok, ids, n, false);
    object_print(json_pack("{s:o}", "text", json_text(job->line, buf_str(&text))));
    return true;
}

static bool chat_line(const Job *job, const json_t *object, Err *err) {
    Ids ids = {.a = job->line};
    Buf text = {.a = job->line};
    ChatOptions options = {.now = os_time()};
    Err why = {0};
    json_t *list = json_array();
    bool ok = conversation_request(job->line, &options.request, object, &why)
              && chat_encode(&ids, &text, &job->bundle->chat, NULL, 0, options, job->scratch, &why);
    for (int64_t i = 0; ok && i < ids.n; i++) json_array_append_new(list, json_integer(ids.v[i]));
    if (ok)
        object_print(
            json_pack("{s:o, s:O}", "text", json_text(job->line, buf_str(&text)), "ids", list));
    json_decref(list);
    return ok || err_set(err, why.code, "line %lld: %s", (long long)job->number, why.msg);
}

static bool one_line(const Job *job, const json_t *object, Err *err) {
    return job->back   ? decode_line(job, object, err)
           : job->chat ? chat_line(job, object, err)
                       : encode_line(job, object, err);
}

/* A bad line is answered with an error, and the others are not in its way. */
static bool all_lines(Job *job, Err *err) {
    Arena *a = arena_open("input", 4ll * LINE_BYTES);
    Lines l;
    json_t *o;
    Err bad = {0};
    lines_init(&l, a);
    while (err->code == ERR_NONE && object_next(&l, true, &o, &bad, err) == LINE_GOT) {
        Mark m = arena_mark(job->line);
        job->number = l.number;
        if (!o || !one_line(job, o, &bad)) error_print(&l, &bad);
        json_decref(o);
        arena_pop(job->line, m);
        bad = (Err){0};
        if (fflush(stdout) != 0) output_failed(err);
    }
    arena_close(a);
    if (os_interrupted()) err_set(err, ERR_INTERRUPTED, "interrupted");
    return err->code == ERR_NONE && lines_fine(&l, err);
}

static bool one_text(const Job *job, Err *err) {
    Ids ids = {.a = job->line};
    if (!encode(job, str_of(job->text), &ids, err)) return false;
    print_ids(&ids);
    printf("\n");
    return true;
}

static bool choice_check(const Job *job, int operands, Err *err) {
    if (operands != 1)
        return err_set(err, ERR_USAGE, "expected one MODEL or tokenizer.json, found %d arguments",
                       operands);
    if (!job->jsonl && !job->back && !job->text)
        return err_set(err, ERR_USAGE, "give --text TEXT, --jsonl or --detokenize");
    if (job->text && (job->jsonl || job->back))
        return err_set(err, ERR_USAGE, "give --text TEXT or %s, not both",
                       job->jsonl ? "--jsonl" : "--detokenize");
    if (job->chat && (!job->jsonl || job->text || job->back || job->plain))
        return err_set(err, ERR_USAGE,
                       "--chat goes with --jsonl, and not with --text, --plain or "
                       "--detokenize");
    return true;
}

static bool tokenize(Job *job, const char *name, Err *err) {
    Bundle bundle = {0};
    Arena *a = arena_open("tokenizer", ARENA_NO_LIMIT);
    job->line = arena_open("line", ARENA_NO_LIMIT);
    job->scratch = arena_open("encoding", ARENA_NO_LIMIT);
    job->bundle = &bundle;
    unsigned parts = BUNDLE_TOKENIZER | (job->chat ? BUNDLE_CHAT : 0);
    bool ok = model_pulled(&name, a, name, err) && bundle_open(&bundle, a, name, parts, err)
              && (job->text ? one_text(job, err) : all_lines(job, err));
    bundle_close(&bundle);
    arena_close(job->scratch), arena_close(job->line), arena_close(a);
    return ok;
}

int cmd_tokenize(int argc, char **argv) {
    Job job = {0};
    const Opt opts[] = {
        FLAG_OPT("jsonl", &job.jsonl,
                 "Read lines {\"text\": ...} from standard input, print lines {\"ids\": [...]}."),
        FLAG_OPT(
            "chat", &job.chat,
            "With --jsonl: read conversations, lines {\"messages\": [...], \"tools\": [...], "
            "\"kwargs\": {...}}, print lines {\"text\": ..., \"ids\": [...]}. tools and kwargs "
            "may be left out; kwargs are further variables of the chat template, like "
            "add_generation_prompt."),
        FLAG_OPT("plain", &job.plain, "Special tokens that are spelled in the text are text."),
        FLAG_OPT(
            "detokenize", &job.back,
            "Read lines {\"ids\": [...]} from standard input, print lines {\"text\": ...}; bytes "
            "that are not UTF-8 become U+FFFD."),
        TEXT_OPT("text", "TEXT", &job.text, "Print the ids of this text."),
    };
    const Command c = {
        "tokenize",
        "MODEL|tokenizer.json",
        "convert text to token ids and back",
        "The ids are those of Hugging Face with add_special_tokens=false. MODEL may be a folder "
        "that has tokenizer files only. One line of input gives one line of output at once; blank "
        "lines are skipped. A bad line gives {\"error\": ...}, and in the end exit code 1.",
        "lisao tokenize model.gguf --text \"Hello world\"\n"
        "echo '{\"text\": \"Hello\"}' | lisao tokenize tokenizer.json --jsonl\n"
        "echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' | lisao tokenize "
        "model.gguf --chat --jsonl\n"
        "echo '{\"ids\": [1, 2]}' | lisao tokenize model.gguf --detokenize\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    os_catch_interrupt();
    if (choice_check(&job, argc - 1, &err) && tokenize(&job, argv[1], &err)) return 0;
    return command_failed(&c, &err);
}
