#!/usr/bin/env bash
# models.sh -- Lisao beside llama.cpp on models of random weights: a dense one of width 1024 (bench/shapes/dense.json) and a
# mixture of experts with latent attention (bench/shapes/moe.json: deepseek2, 64 experts of which 6 are chosen, 2 shared).
#   bench/models.sh make [FOLDER]             writes them with `lisao synth` in the types of the table: 4 GB, some minutes
#   bench/models.sh run [FOLDER [ROUNDS]]     measures both programs on each file, with 2 threads, and adds to what was
#                                             measured before; ROUNDS 0 prints the tables of it
#   bench/models.sh types [FOLDER]            every type that Lisao writes on the dense shape, Lisao only
# The default FOLDER is build/models. Nothing else should run meanwhile.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
what=${1:?make, run or types}
folder=${2:-build/models}
rounds=${3:-3}
compared="q4_0 q8_0 q4_k_m q6_k"
mkdir -p "$folder"

make_model() { # shape type
    [ -e "$folder/$1-$2.gguf" ] || build/lisao synth "bench/shapes/$1.json" "$folder/$1-$2.gguf" --type "$2"
}

case $what in
make)
    for shape in dense moe; do
        for type in $compared; do make_model $shape "$type"; done
    done
    ;;
run)
    for shape in dense moe; do
        for type in $compared; do
            file=$folder/$shape-$type
            printf '\n## %s-%s\n\n' $shape "$type"
            bench/peers.sh "$file.gguf" --same-file --threads 2 --rounds "$rounds" --save "$file.speed"
            [ "$rounds" -eq 0 ] || build/bench/decode "$file.gguf" 2 5 96
        done
    done
    ;;
types)
    for type in q8_0 q6_k q5_k q5_1 q5_0 q4_k_m q4_k q4_1 q4_0 f16 bf16; do
        make_model dense "$type"
        printf '\n## dense-%s\n\n' "$type"
        build/lisao bench "$folder/dense-$type.gguf" --threads 2
    done
    ;;
*)
    sed -n '2,9p' "$0" >&2
    exit 2
    ;;
esac
