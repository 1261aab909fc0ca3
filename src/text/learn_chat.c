/* learn_chat.c -- the special tokens and the chat template of tokenizers that are trained here.
 *
 * They are spelled as DeepSeek-R1's, so that whatever reads its calls and thoughts reads these. A
 * conversation is written as R1's template writes it, with three differences: nothing stands in
 * front, because no text that is trained on here begins with such a token; an answer begins with a
 * thought where the model or enable_thinking says so; and after a tool's output the assistant's
 * turn is opened anew. What the assistant thought is left out of later turns;
 * behind the last question it stands as a model is to write it, to be learned. */
#include "text/learn.h"

#include <jansson.h>
#include <stdlib.h>

const LearntSpecial learnt_special[] = {
    {"<｜begin▁of▁sentence｜>", false},
    {"<｜end▁of▁sentence｜>", false},
    {"<｜▁pad▁｜>", false},
    {"<｜User｜>", false},
    {"<｜Assistant｜>", false},
    {"<think>", true},
    {"</think>", true},
    {"<｜tool▁calls▁begin｜>", false},
    {"<｜tool▁calls▁end｜>", false},
    {"<｜tool▁call▁begin｜>", false},
    {"<｜tool▁call▁end｜>", false},
    {"<｜tool▁sep｜>", false},
    {"<｜tool▁outputs▁begin｜>", false},
    {"<｜tool▁outputs▁end｜>", false},
    {"<｜tool▁output▁begin｜>", false},
    {"<｜tool▁output▁end｜>", false},
};
const int64_t learnt_special_n = COUNT(learnt_special);

int64_t bpe_vocab_least(void) { return learnt_special_n + 256; }

/* Of a conversation only the last question and what follows it; in front of the template. */
static const char last_question[] =
    "{%- set last = namespace(at=0) -%}\n"
    "{%- for m in messages -%}\n"
    "  {%- if m.role == 'user' -%}{%- set last.at = loop.index0 -%}{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- set messages = messages[last.at:] -%}\n";
static const char chat_template[] =
    "{%- set ns = namespace(system='', asked=-1) -%}\n"
    "{%- for m in messages if m.role == 'user' -%}{%- set ns.asked = ns.asked + 1 -%}{%- endfor "
    "-%}\n"
    "{%- for m in messages if m.role == 'system' -%}\n"
    "  {%- set ns.system = ns.system + ('\\n\\n' if ns.system else '') + m.content -%}\n"
    "{%- endfor -%}\n"
    "{%- if tools -%}\n"
    "  {%- set ns.system = ns.system + ('\\n\\n' if ns.system else '') + 'Functions that can be "
    "called:' -%}\n"
    "  {%- for t in tools -%}\n"
    "    {%- set ns.system = ns.system + '\\n' + (t.function if t.function is defined else t) | "
    "tojson -%}\n"
    "  {%- endfor -%}\n"
    "{%- endif -%}\n"
    "{{- ns.system -}}\n"
    "{%- for m in messages -%}\n"
    "  {%- if m.role == 'user' -%}\n"
    "    {%- set ns.asked = ns.asked - 1 -%}\n"
    "    {{- '<｜User｜>' -}}{{- m.content -}}\n"
    "  {%- elif m.role == 'assistant' -%}\n"
    "    {%- set said = m.content or '' -%}\n"
    "    {%- if '</think>' in said -%}\n"
    "      {%- set said = said.split('</think>')[-1].lstrip('\\n') -%}\n"
    "    {%- endif -%}\n"
    "    {{- '<｜Assistant｜>' -}}\n"
    "    {%- if m.reasoning_content and ns.asked < 0 -%}\n"
    "      {{- '<think>\\n' -}}{{- m.reasoning_content -}}{{- '\\n</think>\\n\\n' -}}\n"
    "    {%- endif -%}\n"
    "    {{- said -}}\n"
    "    {%- if m.tool_calls -%}\n"
    "      {{- '<｜tool▁calls▁begin｜>' -}}\n"
    "      {%- for call in m.tool_calls -%}\n"
    "        {%- set f = call.function if call.function is defined else call -%}\n"
    "        {{- '<｜tool▁call▁begin｜>function<｜tool▁sep｜>' -}}{{- f.name -}}\n"
    "        {{- '\\n```json\\n' -}}\n"
    "        {{- f.arguments if f.arguments is string else f.arguments | tojson -}}\n"
    "        {{- '\\n```<｜tool▁call▁end｜>' -}}\n"
    "      {%- endfor -%}\n"
    "      {{- '<｜tool▁calls▁end｜>' -}}\n"
    "    {%- endif -%}\n"
    "    {{- '<｜end▁of▁sentence｜>' -}}\n"
    "  {%- elif m.role == 'tool' -%}\n"
    "    {%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}\n"
    "      {{- '<｜tool▁outputs▁begin｜>' -}}\n"
    "    {%- endif -%}\n"
    "    {{- '<｜tool▁output▁begin｜>' -}}{{- m.content -}}{{- '<｜tool▁output▁end｜>' -}}\n"
    "    {%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}\n"
    "      {{- '<｜tool▁outputs▁end｜>' -}}\n"
    "    {%- endif -%}\n"
    "  {%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n"
    "  {{- '<｜Assistant｜>' -}}\n"
    "  {%- if enable_thinking is defined -%}\n"
    "    {{- '<think>\\n' if enable_thinking else '<think>\\n\\n</think>\\n\\n' -}}\n"
    "  {%- endif -%}\n"
    "{%- endif -%}\n";

Str bpe_chat_config(Arena *a, bool last) {
    const Str template = str_fmt(a, "%s%s", last ? last_question : "", chat_template);
    json_t *o =
        json_pack("{s:s, s:b, s:b, s:n, s:s, s:s, s:n, s:b, s:s}", "tokenizer_class",
                  "PreTrainedTokenizerFast", "add_bos_token", 0, "add_eos_token", 0, "bos_token",
                  "eos_token", learnt_special[1].text, "pad_token", learnt_special[2].text,
                  "unk_token", "clean_up_tokenization_spaces", 0, "chat_template", template.p);
    CHECK(o);
    char *z = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    CHECK(z);
    const Str s = str_fmt(a, "%s\n", z);
    free(z);
    return s;
}
