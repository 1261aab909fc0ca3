/* bytes.c -- the smallest tokenizer.json of byte-level BPE: no merges.
 *
 * Byte-level vocabularies spell bytes as visible characters: those that are visible in Latin-1
 * stand for themselves, the others are U+0100 and up, in order. */
#include "support/bytes.h"

static int code_point(int byte) {
    int hidden = 0;
    for (int b = 0; b <= byte; b++) {
        bool visible = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        if (b == byte) return visible ? b : 256 + hidden;
        hidden += !visible;
    }
    return 0;
}

static void added_put(Buf *b, int id, const char *content) {
    buf_fmt(b,
            "%s{\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, "
            "\"rstrip\": false, \"normalized\": false, \"special\": true}",
            id == BYTES_END ? "" : ", ", id, content);
}

static Str tokenizer(Arena *a, bool chat) {
    Buf b = {.a = a};
    buf_fmt(&b, "{\"version\": \"1.0\", \"added_tokens\": [");
    added_put(&b, BYTES_END, "<|endoftext|>");
    if (chat) added_put(&b, BYTES_END + 1, "<|im_start|>");
    if (chat) added_put(&b, BYTES_END + 2, "<|im_end|>");
    buf_fmt(&b, "], \"normalizer\": null, "
                "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                "\"trim_offsets\": true, \"use_regex\": true}, "
                "\"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\", "
                "\"add_prefix_space\": true, \"trim_offsets\": true, "
                "\"use_regex\": true}, \"model\": {\"type\": \"BPE\", \"dropout\": null, "
                "\"unk_token\": null, "
                "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": "
                "false, \"byte_fallback\": false, "
                "\"vocab\": {");
    for (int i = 0; i < 256; i++) buf_fmt(&b, "%s\"\\u%04x\": %d", i ? ", " : "", code_point(i), i);
    buf_fmt(&b, "}, \"merges\": []}}");
    return buf_str(&b);
}

Str bytes_tokenizer(Arena *a) { return tokenizer(a, false); }
Str bytes_chat_tokenizer(Arena *a) { return tokenizer(a, true); }
