/* cmd_pull.c -- `lisao pull`: models from the network into the cache folder. */
#include <jansson.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/hub.h"

static void print_json(Arena *a, const Fetched *f) {
    json_t *j = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "name", path_shown(a, f->name), "path",
                          path_shown(a, f->path), "files", (json_int_t)f->files, "bytes",
                          (json_int_t)f->bytes, "received", (json_int_t)f->received, "kept",
                          (json_int_t)f->kept);
    if (f->sha256) json_object_set_new(j, "sha256", json_string(f->sha256));
    json_show(j);
}

/* What was fetched, and whether it runs here: opening it reads no weight. */
static void told(Arena *a, const Fetched *f) {
    Bundle b;
    Err why = {0};
    const char *name = path_shown(a, f->name);
    Arena *files = arena_open("model", ARENA_NO_LIMIT);
    if (f->files == 1 && !f->checked)
        log_at(LOG_WARN,
               "the server gave no SHA-256 to hold %s against; the file has %s (pull --sha256 "
               "would check it)",
               name, f->sha256);
    fprintf(stderr, "%s %s, %.1f MB\n", f->received ? "fetched" : "there already:", name,
            (double)f->bytes / 1e6);
    if (bundle_open(&b, files, f->path, BUNDLE_MODEL, &why))
        bundle_close(&b);
    else
        log_at(LOG_WARN, "it does not run here: %s", why.msg);
    arena_close(files);
}

int cmd_pull(int argc, char **argv) {
    const char *sha256 = NULL;
    bool json = false;
    const Opt opts[] = {
        TEXT_OPT("sha256", "HEX", &sha256, "What the file of an address must have."),
        FLAG_OPT("json", &json, "Print one JSON object."),
    };
    const Command c = {
        "pull",
        "REPO[@REVISION][:FILE or :TYPE]",
        "fetch a model from the network into the cache folder",
        "Fetches a model from Hugging Face into ~/.cache/lisao/models and prints its path. REPO is "
        "OWNER/NAME; TYPE picks a GGUF file by its quantisation, as Q4_K_M. Without either it is "
        "the whole folder (config.json, tokenizer, safetensors), or the GGUF file that most "
        "machines run well. Instead of REPO there may be the address (https://...) of a GGUF "
        "file. Of a split file all parts are fetched. What was cut or interrupted goes on where it "
        "stopped; sizes and SHA-256 are checked. Every command takes hf:REPO for MODEL, and "
        "fetches it once. HF_ENDPOINT is another hub, HF_TOKEN a token for private and gated "
        "repositories, https_proxy a proxy.",
        "lisao pull Qwen/Qwen3-0.6B-GGUF:Q8_0\nlisao pull Qwen/Qwen3-0.6B\n"
        "lisao run hf:Qwen/Qwen3-0.6B-GGUF:Q8_0 \"What is rain?\" --max-tokens 9\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    Fetched f;
    Arena *a = arena_open("pull", ARENA_NO_LIMIT);
    os_catch_interrupt();
    bool ok =
        argc == 2
        || err_set(&err, ERR_USAGE, "expected one REPO or address, found %d arguments", argc - 1);
    ok = ok && hub_pull(&f, a, argv[1], sha256, false, &err);
    if (ok) told(a, &f);
    if (ok && json)
        print_json(a, &f);
    else if (ok)
        printf("%s\n", path_shown(a, f.path));
    arena_close(a);
    return ok ? 0 : command_failed(&c, &err);
}
