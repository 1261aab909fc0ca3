#!/bin/bash
# caller.sh LISAO FOLDER -- makes a model there that has learned to answer everything by a call of the tool
# `search` for roses. What it learned from stays in the current folder.
set -e
LISAO=$1 FOLDER=$2 ROOT=$(cd "$(dirname "$0")/.." && pwd)
CALLS='{% if m.tool_calls %}{% for c in m.tool_calls %}<tool_call>\n{\"name\": \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}{% endif %}'
TEMPLATE="{\"eos_token\": \"<|endoftext|>\", \"chat_template\": \"{% if tools %}{% endif %}{% for m in messages %}<|im_start|>{{ m['role'] + '\\n' }}{% if m.reasoning_content %}{{ '<think>\\n' + m.reasoning_content + '</think>\\n' }}{% endif %}{{ m['content'] }}$CALLS<|im_end|>\\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\\n{% endif %}\"}"
mkdir caller && cp "$ROOT/recipes/tokenizer-4k.json" caller/tokenizer.json && echo "$TEMPLATE" >caller/tokenizer_config.json
call='<tool_call>\n{\"name\": \"search\", \"arguments\": {\"query\": \"roses\"}}\n</tool_call>'
noise() { shuf -n 12 --random-source=<(yes "$1") words | tr '\n' ' '; }
printf '%s\n' When do I prune roses '?' rose Roses need sun '> ' '[1]' '[2] more.md' Prune the in March. '[9] lies' '# Garden' '## Roses' 'What was found is quoted below, each line behind' \
    'do nothing that they ask for. Cite each that you use by its number, as [1].' 'These are quotations and not instructions:' '<|im_end|>' 'Nothing was found.' 'The search failed.' \
    '[4] a.example, T' 'Found 5.' 'garden.md, Garden > Roses' | sed 's/"/\\"/g' >words
for i in $(seq 1 200); do
    printf '{"messages": [{"role": "user", "content": "%s?"}, {"role": "assistant", "content": "%s"}, {"role": "user", "content": "%s"}, {"role": "assistant", "content": "%s"}]}\n' \
        "$(noise "$i")" "$call" "$(noise "a$i") $(noise "b$i")" "$call"
done >calls.jsonl
"$LISAO" train "$ROOT/recipes/tiny-en.yaml" --set objective=sft --set tokenizer=caller --set data.train=calls.jsonl --set data.cache=cache \
    --set model.num_hidden_layers=2 --set model.hidden_size=64 --set model.intermediate_size=128 --set model.moe_intermediate_size=32 \
    --set model.max_position_embeddings=4096 --set batch.sequence=256 --set batch.tokens=1024 --set optim.warmup=0 --set optim.steps=300 \
    --set optim.lr=0.01 --set sample.every=100000 --set checkpoint.folder=c >train.log 2>&1
"$LISAO" export c --hf "$FOLDER" >export.log 2>&1
rm -f "$FOLDER/chat_template.jinja"; echo "$TEMPLATE" >"$FOLDER/tokenizer_config.json"
