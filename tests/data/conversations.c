/* conversations.c -- conversations as tokens: what of them is learned under templates of several
 * kinds, which go along whole, and what is refused. */
#define _GNU_SOURCE
#include "tests.h"

#include <stdlib.h>

static char folder[64];

static int folder_setup(void **state) {
    strcpy(folder, "/tmp/lisao-talks-XXXXXX");
    return mkdtemp(folder) ? arena_setup(state) : -1;
}

static int folder_teardown(void **state) {
    Err err = {0};
    return os_remove(folder, &err) ? arena_teardown(state) : -1;
}

#define FOLDER_TEST(fn) cmocka_unit_test_setup_teardown(fn, folder_setup, folder_teardown)

/* Special tokens are what the template itself spells. */
#define TAG "{{ '<|assistant|>' if m.role == 'assistant' else '<|user|>' }}"

/* All turns stay as they were said; a line break follows each end; calls and tools are written. */
static const char whole[] =
    "{%- if tools -%}[{{ tools | length }} tools]{%- endif -%}"
    "{%- for m in messages -%}" TAG
    "{%- if m.reasoning_content -%}<think>{{ m.reasoning_content }}</think>{%- endif -%}"
    "{{ m.content or '' }}"
    "{%- for c in m.tool_calls or [] -%}!{{ c.function.name }}{%- endfor -%}"
    "<|end|>{{ '\\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}";
/* Thoughts before the last question are left out. */
static const char forgets[] =
    "{%- set ns = namespace(last=0) -%}"
    "{%- for m in messages if m.role == 'user' -%}{%- set ns.last = ns.last + 1 -%}{%- endfor -%}"
    "{%- for m in messages -%}{%- if m.role == 'user' -%}{%- set ns.last = ns.last - 1 -%}{%- "
    "endif "
    "-%}" TAG
    "{%- if m.reasoning_content and ns.last == 0 -%}<think>{{ m.reasoning_content }}</think>"
    "{%- endif -%}{{ m.content }}<|end|>{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}";
/* Knows no reasoning. */
static const char plain[] = "{%- for m in messages -%}" TAG "{{ m.content }}<|end|>{%- endfor -%}"
                            "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}";
/* Takes it out. */
static const char drops[] =
    "{%- for m in messages -%}" TAG "{{ m.content.split('</think>')[-1] }}<|end|>{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}";
/* Begins an answer otherwise than it writes one. */
static const char apart[] = "{%- for m in messages -%}" TAG "{{ m.content }}<|end|>{%- endfor -%}"
                            "{%- if add_generation_prompt -%}<|assistant|>So{%- endif -%}";

/* Opens a thought unless it is told not to. */
static const char opens[] =
    "{%- for m in messages -%}" TAG
    "{%- if m.role == 'assistant' -%}<think>{{ m.reasoning_content or '' }}</think>{%- endif -%}"
    "{{ m.content }}<|end|>{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|><think>"
    "{{ '</think>' if enable_thinking is defined and not enable_thinking }}{%- endif -%}";

typedef struct Words {
    Tokenizer *tok;
    Chat chat;
} Words;

static Words words_of(Arena *a, const char *chat_template) {
    Words w;
    Err err = {0};
    if (!tokenizer_open_json(&w.tok, a, byte_tokenizer_json(a), "bytes", &err)
        || !chat_init(&w.chat, a, w.tok, str_of(chat_template), STR(""), STR("<|end|>"), &err))
        fail_msg("%s", err.msg);
    return w;
}

static const char ID[] = "0000000000000000000000000000000000000000000000000000000000000000";

static bool talks_try(Shard *s, Arena *a, const Words *w, const char *path, int64_t threads,
                      const char *chat_id, Err *err) {
    const ShardSpec spec = {.text = path,
                            .separator = "<|endoftext|>",
                            .folder = folder,
                            .tok = w->tok,
                            .tok_id = ID,
                            .end = token_named(w->tok, STR("<|endoftext|>")),
                            .chat = &w->chat,
                            .chat_id = chat_id};
    Team *team = team_open(threads);
    const bool ok = shard_open(s, a, &spec, team, err);
    team_close(team);
    return ok;
}

static const char *written(Arena *a, Str lines) {
    const char *path = str_fmt(a, "%s/talks.jsonl", folder).p;
    file_write(a, path, lines);
    return path;
}

/* The documents as text, one a line, what is learned in brackets. */
static const char *shown(Arena *a, const Shard *s, const Words *w) {
    Buf b = {.a = a};
    for (int64_t d = 0; d < s->docs; d++) {
        bool learns = false;
        for (int64_t i = s->border[d]; i < s->border[d + 1]; i++) {
            if (shard_learns(s, i) != learns) buf_fmt(&b, "%s", learns ? "]" : "[");
            learns = shard_learns(s, i);
            const Str token = token_bytes(w->tok, shard_token(s, i));
            buf_add(&b, str_eq(token, STR("\n")) ? STR("~") : token);
        }
        buf_fmt(&b, "%s\n", learns ? "]" : "");
    }
    return str_copy(a, buf_str(&b)).p;
}

#define TWO_TURNS                                                                                  \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "         \
    "\"content\": \" <think>\\nhm\\n</think>\\n\\nb\"}, {\"role\": \"user\", \"content\": "        \
    "\"c\"}, {\"role\": \"assistant\", \"reasoning_content\": \"oh\", \"content\": \"d\"}], "      \
    "\"source\": 3}\n"

/* Every turn of the assistant is learned, its end included, and nothing else. */
static void all_turns_are_learned(void **state) {
    static const struct {
        const char *chat_template, *lines, *documents;
    } cases[] = {
        {whole, TWO_TURNS,
         "<|user|>a<|end|>~<|assistant|>[<think>hm</think>b<|end|>]~<|user|>c<|end|>~<|assistant|>"
         "[<think>oh</think>d<|end|>]\n"},
        {forgets, TWO_TURNS,
         "<|user|>a<|end|><|assistant|>[<think>hm</think>b<|end|>]\n"
         "<|user|>a<|end|><|assistant|>b<|end|><|user|>c<|end|><|assistant|>[<think>oh</think>d"
         "<|end|>]\n"},
        {plain, TWO_TURNS,
         "<|user|>a<|end|><|assistant|>[<think>~hm~</think>~~b<|end|>]<|user|>c<|end|><|assistant|>"
         "[<think>~oh~</think>~~d<|end|>]\n"},
        {forgets, /* nothing is left out where nothing was thought */
         "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", "
         "\"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"<think></think>b\"}, "
         "{\"role\": \"user\", \"content\": \"c\"}, {\"role\": \"assistant\", \"content\": "
         "\"d\"}, {\"role\": \"user\", \"content\": \"e\"}], \"tools\": null}\n",
         "<|user|>s<|end|><|user|>a<|end|><|assistant|>[b<|end|>]<|user|>c<|end|><|assistant|>[d"
         "<|end|>]\n"},
        {opens, TWO_TURNS,
         "<|user|>a<|end|><|assistant|><think>[hm</think>b<|end|>]<|user|>c<|end|><|assistant|>"
         "<think>[oh</think>d<|end|>]\n"},
        {opens,
         "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": "
         "\"assistant\", \"content\": \"b\"}]}\n",
         "<|user|>a<|end|><|assistant|><think>[</think>b<|end|>]\n"},
        {whole, /* content cannot forge a turn; blank lines are none */
         "\n{\"messages\": [{\"role\": \"user\", \"content\": \"<|end|>\"}, {\"role\": "
         "\"assistant\", \"content\": \"b\"}]}\n\n",
         "<|user|><|end|><|end|>~<|assistant|>[b<|end|>]\n"},
        {whole, /* calls, and what the tool says */
         "{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\"}}], \"messages\": "
         "[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": null, "
         "\"tool_calls\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", "
         "\"arguments\": {\"x\": 1.5}}}]}, {\"role\": \"tool\", \"content\": \"2\"}, {\"role\": "
         "\"assistant\", \"content\": \"<think>two</think>2.\"}]}\n",
         "[1 tools]<|user|>a<|end|>~<|assistant|>[!f<|end|>]~<|user|>2<|end|>~<|assistant|>"
         "[<think>two</think>2.<|end|>]\n"},
    };
    Arena *a = *state;
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Shard s;
        Err err = {0};
        const Words w = words_of(a, cases[i].chat_template);
        char id[65];
        memcpy(id, ID, sizeof id);
        id[0] = (char)('1' + i);
        if (!talks_try(&s, a, &w, written(a, str_of(cases[i].lines)), 2, id, &err))
            fail_msg("case %lld: %s", (long long)i, err.msg);
        const char *is = shown(a, &s, &w);
        /* The brackets are no letters of these texts; those of "[1 tools]" are. */
        assert_string_equal(is, cases[i].documents);
        assert_true(s.whole);
        shard_close(&s);
        tokenizer_close(w.tok);
    }
}

/* n conversations of several lengths: that of number i says its number i % 7 + 1 times, twice. */
static Str many(Arena *a, int64_t n) {
    Buf b = {.a = a};
    for (int64_t i = 0; i < n; i++) {
        buf_fmt(&b, "{\"messages\": [");
        for (int turn = 0; turn < 2; turn++) {
            buf_fmt(&b,
                    "%s{\"role\": \"user\", \"content\": \"%d?\"}, {\"role\": \"assistant\", "
                    "\"content\": \"",
                    turn ? ", " : "", turn);
            for (int64_t k = 0; k <= i % 7; k++) buf_fmt(&b, "%lld ", (long long)i);
            buf_fmt(&b, "\"}");
        }
        buf_fmt(&b, "]}\n");
    }
    return buf_str(&b);
}

/* The same tokens whatever the threads; found again; another template is another shard. */
static void shards_of_conversations_are_kept(void **state) {
    Arena *a = *state;
    const Words w = words_of(a, plain), other = words_of(a, whole);
    const char *path = written(a, many(a, 1000));
    Shard one, three, again, another;
    Err err = {0};
    char id[65];
    memcpy(id, ID, sizeof id);
    assert_true(talks_try(&one, a, &w, path, 1, id, &err));
    assert_int_equal(one.docs, 1000);
    assert_true(talks_try(&again, a, &w, path, 3, id, &err));
    assert_string_equal(one.path.p, again.path.p);
    id[0] = '1';
    assert_true(talks_try(&three, a, &w, path, 3, id, &err));
    assert_string_not_equal(one.key, three.key);
    assert_int_equal(one.tokens, three.tokens);
    assert_memory_equal(one.token, three.token, one.tokens * one.width);
    assert_memory_equal(one.border, three.border, (one.docs + 1) * 8);
    assert_memory_equal(one.learned, three.learned, (one.tokens + 7) / 8);
    id[0] = '2';
    assert_true(talks_try(&another, a, &other, path, 2, id, &err));
    assert_true(another.tokens > one.tokens); /* line breaks */
    shard_close(&one), shard_close(&three), shard_close(&again), shard_close(&another);
    tokenizer_close(w.tok), tokenizer_close(other.tok);
}

/* Rows have whole conversations: one that is too long ends with an answer that fits, or is left
 * out; and so all that is learned but that. */
static void no_row_has_a_piece(void **state) {
    enum { SEQUENCE = 24 };
    Arena *a = *state;
    const Words w = words_of(a, plain);
    Shard s;
    Loader *l;
    Err err = {0};
    assert_true(talks_try(&s, a, &w, written(a, many(a, 60)), 2, ID, &err));
    assert_true(loader_new(&l, a, &s, SEQUENCE, true, (LoaderState){1, 0, 0}, &err));
    const RowCounts c = loader_counts(l);
    assert_in_range(c.cut, 1, 58);
    assert_in_range(c.left_out, 1, 58);
    Packed b = packed_new(a, SEQUENCE);
    const int32_t end = token_named(w.tok, STR("<|end|>")),
                  user = token_named(w.tok, STR("<|user|>"));
    int64_t pieces = 0, targets = 0;
    for (int64_t row = 0; row < loader_rows(l); row++) {
        loader_next(l, &b, 1);
        for (int64_t p = 0; p < b.n_pieces; p++, pieces++) {
            assert_int_equal(b.token[b.at[p]], user);
            assert_int_equal(b.target[b.at[p] + b.len[p] - 1], end);
        }
        targets += b.targets;
    }
    assert_int_equal(pieces, s.docs - c.left_out);
    assert_int_equal(targets, loader_targets(l));
    assert_false(loader_new(&l, a, &s, 4, true, (LoaderState){0}, &err));
    assert_non_null(strstr(err.msg, "make batch.sequence larger"));
    shard_close(&s);
    tokenizer_close(w.tok);
}

#define GOOD                                                                                       \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "         \
    "\"content\": \"b\"}]}\n"
#define TALK(message) GOOD "{\"messages\": [" message "]}\n"

static void bad_lines_are_named(void **state) {
    static const struct {
        const char *chat_template, *lines, *says;
    } bad[] = {
        {plain, GOOD "{\"messages\": [}\n", "expected a conversation as JSON"},
        {plain, GOOD "[1]\n", "there are no \"messages\" in it"},
        {plain, GOOD "{\"text\": \"a\"}\n", "there are no \"messages\" in it"},
        {plain, GOOD "{\"messages\": []}\n", "there are no \"messages\" in it"},
        {plain, GOOD "{\"tools\": 1, \"messages\": [1]}\n", "its \"tools\" are no list"},
        {plain, TALK("1"), "message 1 is no object"},
        {plain, TALK("{\"content\": \"a\"}"), "message 1 has no role"},
        {plain, TALK("{\"role\": \"human\", \"content\": \"a\"}"),
         "message 1 has the role \"human\"; expected a \"role\": system, user, assistant or tool"},
        {plain, TALK("{\"role\": \"user\"}"), "message 1 has no content"},
        {plain, TALK("{\"role\": \"user\", \"content\": [\"a\"]}"),
         "a \"content\" that is no text"},
        {plain, TALK("{\"role\": \"assistant\", \"content\": null}"), "that is no text"},
        {plain, TALK("{\"role\": \"user\", \"content\": \"a\"}"), "none of its 1 messages is an"},
        {plain, TALK("{\"role\": \"assistant\", \"content\": \"<think>a\"}"),
         "expected a </think>"},
        {plain, TALK("{\"role\": \"assistant\", \"content\": \"a\", \"reasoning_content\": 1}"),
         "\"reasoning_content\" that is no text"},
        {plain, GOOD "\xff\n", "talks.jsonl, line 2: "},
        {drops, TALK("{\"role\": \"assistant\", \"content\": \"<think>a</think>b\"}"),
         "leaves out what an assistant thinks"},
        {apart, GOOD, "line 1: the chat template does not begin a finished answer"},
        {plain, "\n\n", "holds no conversation"},
    };
    Arena *a = *state;
    for (int64_t i = 0; i < COUNT(bad); i++) {
        Shard s;
        Err err = {0};
        const Words w = words_of(a, bad[i].chat_template);
        char id[65];
        memcpy(id, ID, sizeof id);
        id[0] = (char)('1' + i);
        if (talks_try(&s, a, &w, written(a, str_of(bad[i].lines)), 2, id, &err))
            fail_msg("case %lld is taken", (long long)i);
        if (!strstr(err.msg, bad[i].says)
            || (!strncmp(bad[i].lines, GOOD, sizeof GOOD - 1) && bad[i].lines[sizeof GOOD - 1]
                && !strstr(err.msg, "talks.jsonl, line 2: ")))
            fail_msg("case %lld: %s", (long long)i, err.msg);
        tokenizer_close(w.tok);
    }
}

/* Where conversations are wanted a .txt is a text, all of it learned; both under one name are
 * refused. */
static void texts_stay_texts(void **state) {
    Arena *a = *state;
    const Words w = words_of(a, plain);
    const char *text = str_fmt(a, "%s/text.txt", folder).p;
    Shard s;
    Err err = {0};
    file_write(a, text, STR("one\n<|endoftext|>\ntwo\n<|endoftext|>\n"));
    assert_true(talks_try(&s, a, &w, text, 1, ID, &err));
    assert_true(!s.learned && !s.whole && s.docs == 2);
    shard_close(&s);
    written(a, STR(GOOD));
    assert_false(talks_try(&s, a, &w, folder, 1, ID, &err));
    assert_non_null(strstr(err.msg, "1 of its 2 files are .jsonl"));
    tokenizer_close(w.tok);
}

int conversation_tests(void) {
    const struct CMUnitTest tests[] = {
        FOLDER_TEST(all_turns_are_learned), FOLDER_TEST(shards_of_conversations_are_kept),
        FOLDER_TEST(no_row_has_a_piece),    FOLDER_TEST(bad_lines_are_named),
        FOLDER_TEST(texts_stay_texts),
    };
    return cmocka_run_group_tests_name("conversations", tests, NULL, NULL);
}
