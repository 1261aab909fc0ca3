/* handle.c -- thoughts that clients hold for the model: Anthropic's `signature`, Responses'
 * `encrypted_content`.
 *
 * Clients that leave a thought out of what they send back send its handle, which holds the text
 * itself, sealed (XChaCha20-Poly1305). So nothing is remembered for it, a request means the same
 * after a restart, and no client can make one that says what the model never thought. */
#include "serve/api.h"
#include <sodium.h>

enum {
    NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    TAG = crypto_aead_xchacha20poly1305_ietf_ABYTES,
    VARIANT = sodium_base64_VARIANT_URLSAFE_NO_PADDING
};
_Static_assert(sizeof(((Api *)0)->handle_key) == crypto_aead_xchacha20poly1305_ietf_KEYBYTES,
               "a key");

/* From the secret of the keys' store, or the one key; where none is asked for there is nothing to
 * keep secret either. The model does not matter: a thought is text. */
bool handles_open(Api *api, Err *err) {
    static const char purpose[] = "handles of thoughts";
    const char *secret = api->spec->api_key ? api->spec->api_key : "";
    if (sodium_init() < 0) return err_set(err, ERR_UNSUPPORTED, "libsodium does not start");
    if (api->gate) return gate_secret(api->gate, purpose, api->handle_key), true;
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof api->handle_key);
    crypto_generichash_update(&state, (const uint8_t *)purpose, sizeof purpose);
    crypto_generichash_update(&state, (const uint8_t *)secret, strlen(secret));
    crypto_generichash_final(&state, api->handle_key, sizeof api->handle_key);
    return true;
}

/* The nonce is a keyed hash of what is sealed, so that the same answer has the same handle. */
json_t *handle_json(const Job *j, Str thought) {
    const uint8_t *key = j->api->handle_key;
    const size_t n = (size_t)thought.n, n_tenant = strlen(j->tenant),
                 room = sodium_base64_encoded_len(NONCE + n + TAG, VARIANT);
    Arena *scratch = arena_open("handle", ARENA_NO_LIMIT);
    uint8_t *sealed = PUSH(scratch, uint8_t, (int64_t)(NONCE + n + TAG));
    char *text = PUSH(scratch, char, (int64_t)room);
    const uint8_t *plain = (const uint8_t *)(thought.n ? thought.p : "");
    crypto_generichash_state state;
    crypto_generichash_init(&state, key, sizeof j->api->handle_key, NONCE);
    crypto_generichash_update(&state, (const uint8_t *)j->tenant, n_tenant + 1);
    crypto_generichash_update(&state, plain, n);
    crypto_generichash_final(&state, sealed, NONCE);
    crypto_aead_xchacha20poly1305_ietf_encrypt(
        sealed + NONCE, NULL, plain, n, (const uint8_t *)j->tenant, n_tenant, NULL, sealed, key);
    sodium_bin2base64(text, room, sealed, NONCE + n + TAG, VARIANT);
    json_t *o = json_string(text);
    arena_close(scratch);
    return o;
}

static bool handle_text(Call *c, const json_t *handle, Str *thought) {
    const size_t length = json_string_length(handle);
    const char *end = NULL;
    size_t n = 0;
    uint8_t *sealed = PUSH(c->a, uint8_t, (int64_t)length + 1);
    if (sodium_base642bin(sealed, length + 1, json_string_value(handle), length, NULL, &n, &end,
                          VARIANT)
        || end != json_string_value(handle) + length || n < NONCE + TAG)
        return false;
    uint8_t *text = PUSH(c->a, uint8_t, (int64_t)n);
    unsigned long long bytes = 0;
    const char *tenant = c->key.tenant;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(text, &bytes, NULL, sealed + NONCE, n - NONCE,
                                                   (const uint8_t *)tenant, strlen(tenant), sealed,
                                                   c->api->handle_key))
        return false;
    *thought = (Str){(const char *)text, (int64_t)bytes};
    return true;
}

void thought_put(Call *c, json_t *message, const json_t *handle, json_t *text) {
    Str thought;
    if (json_is_string(handle) && json_string_length(handle) && handle_text(c, handle, &thought)) {
        json_object_set_new(message, "reasoning_content", json_of(thought));
    } else if (json_is_string(text) && json_string_length(text)) {
        json_object_set(message, "reasoning_content", text);
    } else if (json_is_string(handle) && json_string_length(handle) && !c->warned) {
        exchange_head(c->x, "x-warning", "missing-reasoning");
        c->warned = true;
    }
}
