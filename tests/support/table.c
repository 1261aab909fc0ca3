/* table.c -- see table.h. The embedding of token i is the unit vector i, attention and feed-forward
 * add nothing, and the head turns unit vector i to the token that follows. */
#include "support/table.h"
#include "support/bytes.h"

enum { C = 320, F = 32, HEADS = 4 };

static const char CONFIG[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_act\": "
    "\"silu\", "
    "\"hidden_size\": 320, \"intermediate_size\": 32, \"num_hidden_layers\": 1, "
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 4, \"max_position_embeddings\": 20000, "
    "\"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"vocab_size\": 259, "
    "\"tie_word_embeddings\": false, \"eos_token_id\": 256, \"torch_dtype\": \"float32\"}";

#define CHATML(open)                                                                               \
    "{\"chat_template\": \"{% for message in messages %}{{'<|im_start|>' + message['role'] + "     \
    "'\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt "  \
    "%}{{ '<|im_start|>assistant\\n" open "' }}{% endif %}\"}"

static void put(Arena *a, const char *folder, const char *name, Str head, Str body) {
    Err err = {0};
    OutFile *f = os_create(a, str_fmt(a, "%s/%s", folder, name).p, &err);
    CHECK(f && os_write(f, head.p, head.n, &err) && os_write(f, body.p, body.n, &err)
          && os_commit(f, &err));
}

/* A tensor of the header; where its numbers begin, for the caller to fill in. */
static float *tensor(Buf *head, Buf *body, const char *name, int64_t rows, int64_t cols) {
    int64_t at = body->n, n = MAX(rows, 1) * cols;
    Arena *a = arena_open("tensor", ARENA_NO_LIMIT);
    buf_add(body, (Str){(char *)PUSH(a, float, n), n * 4});
    arena_close(a);
    buf_fmt(head, "%s\"%s\": {\"dtype\": \"F32\", \"shape\": [", head->n ? ", " : "{", name);
    if (rows) buf_fmt(head, "%lld, ", (long long)rows);
    buf_fmt(head, "%lld], \"data_offsets\": [%lld, %lld]}", (long long)cols, (long long)at,
            (long long)body->n);
    return (float *)(void *)(body->p + at);
}

static void ones(float *x) {
    for (int64_t i = 0; i < C; i++) x[i] = 1;
}

void table_write(Arena *a, const char *folder, const int32_t next[TABLE_V], float sure,
                 bool thinks) {
    static const char *const square[] = {"q", "k", "v", "o"};
    Err err = {0};
    Buf head = {.a = a}, body = {.a = arena_open("body", ARENA_NO_LIMIT)};
    const char *layer = "model.layers.0";
    float *x = tensor(&head, &body, "model.embed_tokens.weight", TABLE_V, C);
    for (int64_t i = 0; i < TABLE_V; i++) x[i * C + i] = 1;
    x = tensor(&head, &body, "lm_head.weight", TABLE_V, C);
    /* The norm makes a unit vector sqrt(C) long. */
    for (int64_t i = 0; i < TABLE_V; i++) x[next[i] * C + i] = sure / 17.888f;
    ones(tensor(&head, &body, "model.norm.weight", 0, C));
    ones(tensor(&head, &body, str_fmt(a, "%s.input_layernorm.weight", layer).p, 0, C));
    ones(tensor(&head, &body, str_fmt(a, "%s.post_attention_layernorm.weight", layer).p, 0, C));
    for (int i = 0; i < COUNT(square); i++)
        tensor(&head, &body, str_fmt(a, "%s.self_attn.%s_proj.weight", layer, square[i]).p, C, C);
    tensor(&head, &body, str_fmt(a, "%s.mlp.gate_proj.weight", layer).p, F, C);
    tensor(&head, &body, str_fmt(a, "%s.mlp.up_proj.weight", layer).p, F, C);
    tensor(&head, &body, str_fmt(a, "%s.mlp.down_proj.weight", layer).p, C, F);
    buf_add(&head, STR("}"));
    while (head.n % 8) buf_add(&head, STR(" "));
    Buf file = {.a = a};
    uint64_t length = (uint64_t)head.n;
    buf_add(&file, (Str){(char *)&length, 8});
    buf_add(&file, buf_str(&head));
    CHECK(os_mkdir(folder, &err));
    put(a, folder, "model.safetensors", buf_str(&file), buf_str(&body));
    put(a, folder, "config.json", str_of(CONFIG), (Str){0});
    put(a, folder, "tokenizer.json", bytes_chat_tokenizer(a), (Str){0});
    put(a, folder, "tokenizer_config.json", thinks ? STR(CHATML("<think>\\n")) : STR(CHATML("")),
        (Str){0});
    arena_close(body.a);
}

void table_say(int32_t next[TABLE_V], const char *answer) {
    int32_t last = TABLE_FIRST;
    for (int i = 0; i < TABLE_V; i++) next[i] = TABLE_TURN;
    for (; *answer; answer++) last = next[last] = (unsigned char)*answer;
    next[last] = TABLE_TURN;
}
