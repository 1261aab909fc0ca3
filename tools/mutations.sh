#!/bin/bash
# tools/mutations.sh [WORD...] -- do the tests find defects? Puts one small defect at a time into a copy of the sources
# and demands that the tests of a module find it. With words: only mutations whose name or file contains one of them.
#
# A mutation is a sed expression that must change exactly one line, so one that no longer fits the source is
# noticed. The copy, of the tracked files as they stand, and what is built from it lie in a folder of mktemp.
# Before anything is changed the tests must be green. A mutation is caught when a named test turns red; it is
# printed with the first of them. One that survives, does not apply or does not compile makes the exit status 1.
# The tests run in their quick form and without the real model, so that they say the same on every machine.
#
# tools/mutations.sh --check tries no test: it only names the mutations that no longer fit (`make lint`).
set -u
cd "$(dirname "$0")/.." || exit 1

names=() modules=() files=() changes=()
# mutation NAME MODULE FILE SED: tests/MODULE must notice that FILE was changed by SED.
mutation() {
    local word
    for word in "${words[@]}"; do
        [[ "$1 $3" != *"$word"* ]] || { names+=("$1") modules+=("$2") files+=("$3") changes+=("$4"); break; }
    done
}
check=
[ "${1-}" != --check ] || { check=yes; shift; }
[ $# -gt 0 ] || set -- ''
words=("$@")

# ---- the table ------------------------------------------------------------------------------------------------

mutation 'exp: the low part of ln 2 with the wrong sign' kern src/kern/math.c \
    's/-EXP_LN2_LO, r/EXP_LN2_LO, r/'
mutation 'thread_range: the remainder is nobody'\''s' base src/base/team.c \
    's/lo + each + (th.i < more)/lo + each/'

mutation 'rope, ref: a sign' kern src/kern/ref/norm.c \
    's/-(x1 \* s)/(x1 * s)/'
mutation 'rmsnorm_back, wide: a sign' kern src/kern/wide/norm.h \
    's/vec_negate(vec_load(in, x + i))/vec_load(in, x + i)/'
mutation 'quantised types, wide: swapped nibbles' kern src/kern/wide/unpack.h \
    's/t->low == 4 ? g \/ 4 \* 4/t->low == 4 ? 4 - g \/ 4 * 4/'
mutation 'product, wide: the sum goes on beyond CUT_K' kern src/kern/wide/blocks.h \
    's/tile_part(b, part, \(.*\), false);/{ tile_part(b, total, \1, true); continue; }/'
mutation 'gradient of a norm'\''s weight: threads order the sum' kern src/kern/rowops.c \
    's/^    kern.columns_sum(.*$/for (int64_t a = 0, k = (n + th.n - 1) \/ th.n; a < n; a += k) kern.columns_sum(dw + c.lo, dy + a * lddy + c.lo, lddy, x ? x + a * ldx + c.lo : NULL, ldx, r ? r + a : NULL, MIN(k, n - a), c.hi - c.lo);/'
mutation 'attention: a query sees the key after its own' kern src/kern/attend.c \
    's/c \* CHUNK + 1, CHUNK)/c * CHUNK + 2, CHUNK)/'
mutation 'attention: chunks merged with one another'\''s weights' kern src/kern/attend.c \
    's/d->a\[i - i0\], part->o + i \* dv, d->b\[i - i0\]/d->b[i - i0], part->o + i * dv, d->a[i - i0]/'
mutation 'attention, fewer pairs than threads: the last query vector is nobody'\''s' kern src/kern/attend.c \
    's/MIN(mine.hi - first, t.n/MIN(mine.hi - 1 - first, t.n/'
mutation 'router: of equal experts the last' kern src/kern/router.c \
    's/while (at < n \&\& (left\[at\] != top || closed\[at\])) at++;/for (int64_t i = 0; i < n; i++) if (left[i] == top \&\& !closed[i]) at = i;/'
mutation 'combine: does not start from its base' kern src/kern/router.c \
    's/base ? base + i \* C : NULL/NULL/'
mutation 'AdamW, ref: decay without the rate' kern src/kern/ref/optim.c \
    's/p->lr \* p->wd/p->wd/'

mutation 'safetensors: data may end behind the file' file src/file/safetensors.c \
    's/begin > end || end > data\.n/begin > end/'
mutation 'GGUF: tensors may lie on one another' file src/file/gguf.c \
    's/if (offset != (uint64_t)\*at)/if (offset > (uint64_t)*at)/'

mutation 'BPE: of equal ranks any' text src/text/bpe.c \
    's/b->heap\[k\] >= last/b->heap[k] >> 32 >= last >> 32/'
mutation 'chat input: text can forge a special token' text src/text/encode.c \
    's/e->mode == TEXT_PARSED && //'
mutation 'streaming decoder: loses the byte after a cut character' text src/text/decode.c \
    's/^        byte_push(d, byte, out);/        (void)byte;/'

mutation 'GGUF: rows of q and k stay permuted' model src/model/weights.c \
    's/at % half \* 2 + at \/ half/at/'
mutation 'MLA: rope turns halves instead of pairs' model src/model/mla.c \
    's/^    bool pairs = .*rope\.pairs;/    bool pairs = !p->model->cfg.rope.pairs;/'
mutation 'router: the choice'\''s bias in the weights' model src/kern/router.c \
    's/weigh(weight, id, s, r)/weigh(weight, id, choice, r)/'
mutation 'router: the choice'\''s bias dropped' model src/kern/router.c \
    's/r->bias ? s\[e\] + r->bias\[e\] : s\[e\]/s[e]/'
mutation 'MoE: shared experts dropped' model src/model/moe.c \
    's/w->gate_s ? a->y : NULL/NULL/'
mutation 'YaRN: mscale once instead of squared' model src/model/rope.c \
    's/scale \* (m \* m)/scale * m/'

mutation 'prefix tree: one page too shallow' infer src/infer/prefix.c \
    's/(Place){i, at->depth + 1, t->age}/(Place){i, at->depth, t->age}/'
mutation 'KV: a page given out is not zero' infer src/infer/page.c \
    's/memset(page, 0, (size_t)p->page_bytes)/page/'
mutation 'sampler: of equal probabilities the last' infer src/infer/sampler.c \
    '/other\[at\[/s/item\[i\]/item[n - 1 - i]/g'

mutation 'K types, wide: sums of the minima from another block' kern src/kern/wide/quant_k.h \
    's/sums\[16 \* at + j\]/sums[16 * (at - at % step) + j]/'
mutation 'IQ4: a value of the table' kern src/kern/quant.h \
    's/-104, -83, -65, -49/-104, -83, -64, -49/'
mutation 'FP8: scales by columns of another width' model src/model/weights.c \
    's/scale\[k \/ s->block\[1\]\]/scale[k \/ (s->block[1] + 1)]/'
mutation 'Qwen3: the norm of q for k' model src/model/gqa.c \
    's/a->kxr, w->k_norm, i/a->kxr, w->q_norm, i/'
mutation 'rope, llama3: fast and slow waves blended the wrong way' model src/model/rope.c \
    's/(1 - smooth) \* f\[j\] \/ r->factor + smooth \* f/smooth * f[j] \/ r->factor + (1 - smooth) * f/'
mutation 'chat templates: what tojson writes counts as the template'\''s' text src/text/jinja_value.c \
    's/ok = text_add(b, text_cut(s, i, i + length))/ok = text_put(b, s.p + i, length, BY_TEMPLATE)/'
mutation 'splitter: line breaks behind a thought stay' text src/text/split.c \
    's/bool keep = s->state == SPLIT_START/bool keep = s->state == SPLIT_GAP || s->state == SPLIT_START/'
mutation 'tool calls: a parameter given twice is taken' text src/text/call.c \
    's/ok = text && !json_object_get(arguments, json_string_value(text))/ok = text/'
mutation 'split GGUF: any part in any place' file src/file/gguf.c \
    's/if (split\.no == i && split\.count == count)/if (split.count == count)/'
mutation 'q4_k_m: the last layers get no more bits' bundle src/bundle/types.c \
    's/ || layer >= 7 \* layers \/ 8//'
mutation 'repetition penalty: negative logits grow' infer src/infer/penalty.c \
    's/z\[i\] > 0 ? z\[i\] \/ repetition : z\[i\] \* repetition/z[i] \/ repetition/'
mutation 'frequency penalty: the prompt counts, too' infer src/infer/penalty.c \
    's/+= i >= d->n_prompt/+= 1/'
mutation 'DRY: a repetition reaches across a break' infer src/infer/penalty.c \
    's/&& !breaks(d, d->token\[d->n - 1 - n\])//'

mutation 'packing: a target is its own input' data src/data/loader.c \
    's/shard_token(s, p\.start + i + 1)/shard_token(s, p.start + i)/'
mutation 'resume: a row of the epoch skipped' train src/train/resume.c \
    's/\(at\[0\] = .*\)\.row = row}/\1.row = row + 1}/'
mutation 'resume: a row of a mixture skipped' train src/train/resume.c \
    's/\(at\[i\] = .*\)\.row = row}/\1.row = row + 1}/'
mutation 'AdamW: decay of vectors too' train src/train/optim.c \
    's/w\.wd = p->decay ? \(.*\) : 0;/w.wd = \1;/'
mutation 'loss: mean of a micro-batch, not of the step' train src/train/step.c \
    's/(double)t->stats\.targets);/(double)b->n);/'
mutation 'mixture: always the same text' data src/data/mix.c \
    's/m->rows++ \* GOLDEN/m->rows * GOLDEN/'
mutation 'mixture: a weight is a share of the rows, not of the tokens' data src/data/mix.c \
    's/weight \* (double)c.rows \/ (double)c.places;/weight;/'
mutation 'mixture: the rows that were given out are forgotten' train src/train/resume.c \
    's/t->start\.rows = rows;/t->start.rows = 0;/'
mutation 'packing: a row as empty as can be' data src/data/pack.c \
    's/int64_t k = n; k < p->sequence; k++/int64_t k = p->sequence - 1; k >= n; k--/'
mutation 'packing: a row takes any number of pieces' data src/data/pack.c \
    's/ || p->used\[r\] >= row_pieces(p->sequence)//'
mutation 'packing: every epoch is the first' data src/data/pack.c \
    's/SHUFFLES \* epoch/SHUFFLES * 0/'
mutation 'tasks: a question is learned, too' data src/data/loader.c \
    's/= learned ? shard_token(s, p.start + i + 1) : -1/= shard_token(s, p.start + i + 1)/'
mutation 'curriculum: the circle is parted once' data src/data/mix.c \
    's/if (m->rows >= m->until) parts_make/if (!m->until) parts_make/'
mutation 'sft: the end of a turn is not learned' data src/data/conversation.c \
    's/== w->chat->end) return i;/== w->chat->end) return i - 1;/'
mutation 'sft: a turn that changed stays in its document' data src/data/conversation.c \
    's/!stands_before(&w->doc, &w->begin)/!stands_before(\&w->doc, \&w->doc)/'
mutation 'long lines: a separator within one counts' data src/data/documents.c \
    's/if (begins && is_separator/if (is_separator/'
mutation 'long lines: a mapped text stays in memory' data src/data/documents.c \
    's/os_drop(w->map, 0, w->map->n - rest\.n);/(void)0;/'
mutation 'plan: what does not fit is run all the same' train src/train/plan.c \
    '/^bool train_plan_fits/,/^}/s/p->bytes <= p->limit/p->bytes > 0/'
mutation 'plan: moments are activations' train src/train/plan.c \
    's/{"moments", PART_MOMENTS}/{"moments", PART_ACTIVATIONS}/'
mutation 'metrics: lines of steps that are done again stay' train src/train/metrics.c \
    's/step < 0 || step > last/step < 0/'
mutation 'balance: a busy expert gets busier' train src/model/routing.c \
    's/\* E < all) bias/* E > all) bias/'
mutation 'Muon: the update of the short side'\''s size' train src/train/muon.c \
    's/0\.2 \* sqrt((double)MAX(m, n))/0.2 * sqrt((double)MIN(m, n))/'

# ---- running them ---------------------------------------------------------------------------------------------

# fits FILE SED: the expression changes exactly one line.
fits() { [ -f "$1" ] && [ "$(sed "$2" "$1" | diff "$1" - | grep -c '^[<>]')" -eq 2 ]; }

if [ -n "$check" ]; then
    for i in "${!names[@]}"; do
        fits "${files[i]}" "${changes[i]}" || echo "tools/mutations.sh: \"${names[i]}\" does not change exactly one line of ${files[i]}"
    done
    exit 0
fi
[ ${#names[@]} -gt 0 ] || { echo "no mutation is named like ${words[*]@Q}" >&2; exit 1; }
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
tree=$scratch/tree B=$scratch/build log=$scratch/log
mkdir "$tree"
git ls-files -z | xargs -0 cp --parents -t "$tree" || exit 1
LISAO_SHARED=$(cd "${LISAO_SHARED:-../shared}" 2>/dev/null && pwd)
export LISAO_SHARED LISAO_BUILD=$B LISAO_BIN=$B/lisao CMOCKA_MESSAGE_OUTPUT=STDOUT LISAO_MODEL_SMOLLM2=/none
unset LISAO_TEST_FULL
cd "$tree" || exit 1

build() { make -j"$(nproc)" B="$B" "$B/tests/$1" > "$log" 2>&1; }
run() { { timeout 600 "$B/tests/$1" > "$log" 2>&1; } 2> /dev/null; }    # bash itself would tell of a death

# red_tests STATUS: the tests that failed, from the log of a run that ended so; of a program that died, the
# test that it was in.
red_tests() {
    awk -v died="$(($1 > 123))" '
        /^\[ RUN      \] / { test = substr($0, 14) }
        /^\[  FAILED  \] [^0-9]/ && !seen[substr($0, 14)]++ { print substr($0, 14); n++ }
        END { if (!n && died) print test " (which ended the program)" }' "$log"
}

failed=0
failure() {
    echo "$1"
    tail -n 15 "$log" | cut -c1-200 | sed 's/^/    /'
    failed=$((failed + 1))
}

for module in $(printf '%s\n' "${modules[@]}" | sort -u); do
    build "$module" && run "$module" && continue
    failure "$module: its tests are not green as they stand: $(red_tests $? | head -n 1)"
done
[ $failed -eq 0 ] || exit 1

# Puts mutation i in place; the file as it was is kept.
apply() {
    fits "${files[i]}" "${changes[i]}" && cp "${files[i]}" "$scratch/kept" &&
        sed "${changes[i]}" "$scratch/kept" > "${files[i]}"
}

caught=0 absent=0
for i in "${!names[@]}"; do
    what="${names[i]} (${files[i]})"
    if [[ ${files[i]} == */avx512/* ]] && ! grep -q avx512_vnni /proc/cpuinfo; then
        echo "absent   $what: this CPU has no AVX-512"
        absent=$((absent + 1))
        continue
    fi
    : > "$log"
    if ! apply; then failure "STALE    $what: does not change exactly one line"
    elif ! build "${modules[i]}"; then failure "BROKEN   $what: does not compile"
    else
        run "${modules[i]}"
        status=$?
        mapfile -t red < <(red_tests $status)
        if [ $status -eq 124 ]; then failure "SLOW     $what: the tests of ${modules[i]} did not end within 600 s"
        elif [ ${#red[@]} -eq 0 ]; then failure "SURVIVED $what: no test of ${modules[i]} is red"
        else
            more=$((${#red[@]} - 1))
            echo "red      $what: ${modules[i]}: ${red[0]}$([ $more -eq 0 ] || echo " and $more more")"
            caught=$((caught + 1))
        fi
    fi
    # Written anew, so that make sees it: a file moved back is older than the object of the mutation.
    [ ! -f "$scratch/kept" ] || { cat "$scratch/kept" > "${files[i]}" && rm "$scratch/kept"; }
done
echo "$caught caught, $failed not$([ $absent -eq 0 ] || echo ", $absent absent")"
[ $failed -eq 0 ]
