/* cmd_tokenize.c -- `lisao tokenize`: text to ids and back, one JSON object a line, answered as
 * the lines come. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>

typedef struct Job {
    const char *text;
    bool jsonl, plain, back;
    Arena *line; /* what one line needs */
    Arena *scratch;
    const Tokenizer *tok;
    int64_t number; /* of the line, for messages */
} Job;

static void print_ids(const Ids *ids) {
    for (int64_t i = 0; i < ids->n; i++) printf(i ? ", %d" : "%d", ids->v[i]);
}

static bool encode_line(const Job *job, const json_t *object, Err *err) {
    const json_t *text = json_object_get(object, "text");
    Ids ids = {.a = job->line};
    if (!json_is_string(text))
        return err_set(err, ERR_FORMAT, "line %lld: expected {\"text\": \"...\"}",
                       (long long)job->number);
    Str s = {json_string_value(text), (int64_t)json_string_length(text)};
    if (!text_encode(&ids, job->tok, s, job->plain ? TEXT_PLAIN : TEXT_PARSED, job->scratch, err))
        return false;
    printf("{\"ids\": [");
    print_ids(&ids);
    printf("]}\n");
    return true;
}

static bool decode_line(const Job *job, const json_t *object, Err *err) {
    const json_t *list = json_object_get(object, "ids");
    int64_t n = (int64_t)json_array_size(list);
    int32_t *ids = PUSH(job->line, int32_t, n + 1);
    bool ok = json_is_array(list);
    for (int64_t i = 0; ok && i < n; i++) {
        const json_t *id = json_array_get(list, (size_t)i);
        json_int_t v = json_integer_value(id);
        ok = json_is_integer(id) && v >= 0 && v < tokenizer_size(job->tok);
        ids[i] = (int32_t)v;
    }
    if (!ok)
        return err_set(err, ERR_FORMAT,
                       "line %lld: expected {\"ids\": [...]} with ids from 0 to %lld",
                       (long long)job->number, (long long)tokenizer_size(job->tok) - 1);
    Buf text = {.a = job->line};
    text_decode(&text, job->tok, ids, n, false);
    json_t *j = json_pack("{s:o}", "text", json_stringn(text.p ? text.p : "", (size_t)text.n));
    json_dumpf(j, stdout, JSON_COMPACT);
    printf("\n");
    json_decref(j);
    return true;
}

static bool lines(Job *job, Err *err) {
    bool ok = true;
    Arena *a = arena_open("input", 4ll * LINE_BYTES);
    Buf line = {.a = a};
    while (ok && line_read(&line, err)) {
        json_error_t at;
        job->number++;
        json_t *j = json_loadb(line.p ? line.p : "", (size_t)line.n,
                               JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &at);
        Mark m = arena_mark(job->line);
        if (!j)
            ok = err_set(err, ERR_FORMAT, "line %lld: not a JSON object: %s",
                         (long long)job->number, at.text);
        else
            ok = job->back ? decode_line(job, j, err) : encode_line(job, j, err);
        if (ok && fflush(stdout) != 0) ok = output_failed(err);
        json_decref(j);
        arena_pop(job->line, m);
    }
    arena_close(a);
    if (os_interrupted()) err_set(err, ERR_INTERRUPTED, "interrupted");
    return err->code == ERR_NONE;
}

static bool one_text(const Job *job, Err *err) {
    Ids ids = {.a = job->line};
    if (!text_encode(&ids, job->tok, str_of(job->text), job->plain ? TEXT_PLAIN : TEXT_PARSED,
                     job->scratch, err))
        return false;
    print_ids(&ids);
    printf("\n");
    return true;
}

int cmd_tokenize(int argc, char **argv) {
    Job job = {0};
    const Opt opts[] = {
        FLAG_OPT("jsonl", &job.jsonl,
                 "Read lines {\"text\": ...} from standard input, print lines {\"ids\": [...]}."),
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
        "The ids are those of Hugging Face with add_special_tokens=false. One line of input gives "
        "one line of output at once.",
        "lisao tokenize model.gguf --text \"Hello world\"\n"
        "echo '{\"text\": \"Hello\"}' | lisao tokenize tokenizer.json --jsonl\n"
        "echo '{\"ids\": [1, 2]}' | lisao tokenize model.gguf --detokenize\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    os_catch_interrupt();
    Arena *a = arena_open("tokenizer", ARENA_NO_LIMIT);
    Bundle bundle = {0};
    job.line = arena_open("line", ARENA_NO_LIMIT);
    job.scratch = arena_open("encoding", ARENA_NO_LIMIT);
    bool ok = argc == 2
              || err_set(&err, ERR_USAGE,
                         "expected one MODEL or tokenizer.json, found %d arguments", argc - 1);
    ok = ok
         && (job.jsonl || job.back || job.text
             || err_set(&err, ERR_USAGE, "give --text TEXT, --jsonl or --detokenize"));
    ok = ok && bundle_open(&bundle, a, argv[1], BUNDLE_TOKENIZER, &err);
    job.tok = bundle.tok;
    ok = ok && (job.text ? one_text(&job, &err) : lines(&job, &err));
    bundle_close(&bundle);
    arena_close(job.scratch), arena_close(job.line), arena_close(a);
    return ok ? 0 : command_failed(&c, &err);
}
