/* bytes.c -- a tokenizer without a vocabulary to learn: a token for each byte, and those that
 * conversations and thoughts are written with. For small models of small worlds, such as numbers:
 * each digit is a token.
 *
 * Its chat template shows the model the last question and what follows it, and nothing before:
 * models that it is meant for have learned single questions, and would be confused by others. */
#include <jansson.h>
#include <stdlib.h>
#include "text/tokenizer.h"

static const struct {
    const char *text;
    bool special; /* not for the reader; the tags of thoughts are */
} added[] = {{"<|endoftext|>", true}, {"<|user|>", true}, {"<|assistant|>", true},
             {"<|end|>", true},       {"<think>", false}, {"</think>", false}};

static const char chat_template[] =
    "{%- set ns = namespace(first=0) -%}\n"
    "{%- for m in messages -%}\n"
    "  {%- if m.role == 'user' -%}{%- set ns.first = loop.index0 -%}{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- for m in messages[ns.first:] -%}\n"
    "  {%- if m.role == 'user' -%}{{- '<|user|>' -}}{{- m.content -}}\n"
    "  {%- elif m.role == 'assistant' -%}\n"
    "    {{- '<|assistant|>' -}}\n"
    "    {%- if m.reasoning_content -%}\n"
    "      {{- '<think>' -}}{{- m.reasoning_content -}}{{- '</think>' -}}\n"
    "    {%- endif -%}\n"
    "    {{- m.content -}}{{- '<|end|>' -}}\n"
    "  {%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}\n";

static json_t *added_json(void) {
    json_t *list = json_array();
    for (int64_t i = 0; i < COUNT(added); i++)
        json_array_append_new(list,
                              json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (int)i,
                                        "content", added[i].text, "single_word", 0, "lstrip", 0,
                                        "rstrip", 0, "normalized", 0, "special", added[i].special));
    return list;
}

/* Byte-level BPE's alphabet (tokenizer.h): the bytes' characters, and no merges. */
static json_t *vocab_json(void) {
    json_t *o = json_object();
    for (int64_t i = 0; i < COUNT(added); i++)
        json_object_set_new(o, added[i].text, json_integer(i));
    for (int32_t byte = 0, far = 0x100; byte < 256; byte++) {
        char form[5] = {0};
        const bool own = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
        utf8_put(form, own ? byte : far++);
        json_object_set_new(o, form, json_integer(COUNT(added) + byte));
    }
    return o;
}

/* The object's text; it is used up. */
static Str dumped(Arena *a, json_t *o) {
    CHECK(o);
    char *z = json_dumps(o, JSON_INDENT(1));
    CHECK(z);
    json_decref(o);
    const Str s = str_copy(a, str_of(z));
    free(z);
    return s;
}

Str byte_tokenizer_json(Arena *a) {
    return dumped(
        a, json_pack("{s:s, s:n, s:n, s:o, s:n, s:{s:s, s:b, s:b, s:b}, s:n, s:{s:s, s:b, s:b, "
                     "s:b}, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:o, s:[]}}",
                     "version", "1.0", "truncation", "padding", "added_tokens", added_json(),
                     "normalizer", "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", 0, "post_processor", "decoder", "type",
                     "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1, "use_regex", 1, "model",
                     "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix",
                     "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0, "vocab", vocab_json(),
                     "merges"));
}

Str byte_tokenizer_config(Arena *a) {
    return dumped(a, json_pack("{s:s, s:b, s:s, s:b, s:s}", "tokenizer_class",
                               "PreTrainedTokenizerFast", "add_bos_token", 0, "eos_token",
                               added[3].text, "clean_up_tokenization_spaces", 0, "chat_template",
                               chat_template));
}
