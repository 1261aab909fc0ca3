/* hub.c -- models from the network, into the cache folder; and hf:REPO in a model's place. */
#include "cli/hub.h"

#include "cli/cli.h"

bool hub_pull(Fetched *out, Arena *a, const char *source, const char *sha256, bool cached,
              Err *err) {
    const FetchSpec spec = {.source = source,
                            .folder = os_cache_folder(a, "models"),
                            .endpoint = os_env("HF_ENDPOINT"),
                            .token = os_env("HF_TOKEN"),
                            .sha256 = sha256,
                            .cached = cached};
    return fetch_model(out, a, &spec, err);
}

bool model_pulled(const char **path, Arena *a, const char *name, Err *err) {
    Fetched f;
    *path = name;
    if (!name || !str_starts(str_of(name), STR("hf:")) || os_exists(name)) return true;
    if (!hub_pull(&f, a, name, NULL, true, err)) return false;
    *path = f.path;
    return true;
}
