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

Str bytes_tokenizer(Arena *a) {
    Buf b = {.a = a};
    buf_fmt(&b,
            "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": %d, \"content\": "
            "\"<|endoftext|>\", \"single_word\": false, "
            "\"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}], "
            "\"normalizer\": null, "
            "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
            "\"trim_offsets\": true, \"use_regex\": true}, "
            "\"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\", "
            "\"add_prefix_space\": true, \"trim_offsets\": true, "
            "\"use_regex\": true}, \"model\": {\"type\": \"BPE\", \"dropout\": null, "
            "\"unk_token\": null, "
            "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": "
            "false, \"byte_fallback\": false, "
            "\"vocab\": {",
            BYTES_END);
    for (int i = 0; i < 256; i++) buf_fmt(&b, "%s\"\\u%04x\": %d", i ? ", " : "", code_point(i), i);
    buf_fmt(&b, "}, \"merges\": []}}");
    return buf_str(&b);
}
