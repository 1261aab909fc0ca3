/* hub.h -- private to cli/: models from the network, into the cache folder. */
#pragma once
#include "base/base.h"
#include "fetch/fetch.h"

/* fetch_model with what the environment says of hub, token and folder. */
bool hub_pull(Fetched *out, Arena *a, const char *source, const char *sha256, bool cached,
              Err *err) CHECKED;
