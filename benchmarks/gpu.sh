#!/usr/bin/env bash
# Everything that is measured on a GPU, in one go, the most important first: results as JSON and logs in OUT.
#
#   benchmarks/gpu.sh OUT                 on the GPU, in BUDGET seconds at most (1,500)
#   DEVICE=cpu benchmarks/gpu.sh OUT      a rehearsal at toy size on the processor
#   PARTS='generation-*' benchmarks/gpu.sh OUT    the parts whose names match, where a machine is lent for a short time
#
# A part that fails or takes longer than LIMIT seconds (600) does not end the others, and what begins after BUDGET does not run;
# the last lines say which. Copy what is good to benchmarks/results and run `python -m benchmarks.report`.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=$(mkdir -p "${1:?usage: benchmarks/gpu.sh OUT}" && cd "$1" && pwd)
DEVICE=${DEVICE:-cuda}
LIMIT=${LIMIT:-600}
PARTS=${PARTS:-*}
PYTHON=${PYTHON:-.venv/bin/python}
export HF_HUB_OFFLINE=1
if [ "$DEVICE" = cpu ]; then
    SHAPES=mini PRECISIONS=float32,int8 PEERS=transformers/float32 DURATION=1 RUNS=1
    BUDGET=${BUDGET:-86400}
    LISTENERS=1,2 BATCHES=1,2 SCORES="--clips 2 --systems 1 --seconds 2" STEP="--shape mini --batch 1 --seconds 1 --rounds 1"
else
    SHAPES=${SHAPES:-small medium large} PRECISIONS=bfloat16,int8,int4
    PEERS=transformers/bfloat16,transformers-compiled/bfloat16 DURATION=10 RUNS=3
    BUDGET=${BUDGET:-1500}
    LISTENERS=1,16,64,128 BATCHES=1,8,32,64,128 SCORES="--clips 60 --systems 3" STEP="--shape small --batch 16"
fi
results=()

summary() { # however this ends: what passed and what failed
    printf '%s\n' "${results[@]}" >"$OUT/summary.txt"
    printf '\n%s of %s passed; results in %s\n' "$(grep -c ': ok' "$OUT/summary.txt")" "${#results[@]}" "$OUT"
    grep FAILED "$OUT/summary.txt"
}
trap summary EXIT
trap 'results+=("the rest: FAILED (stopped)"); exit 1' INT TERM

part() { # NAME COMMAND...: run it with a limit, its output in OUT/NAME.log; with --json it passes only if that file has arrived
    local name=$1 begun=$SECONDS limit=$((BUDGET - SECONDS)) outcome
    shift
    # shellcheck disable=SC2053 # a pattern
    [[ $name == $PARTS ]] || return
    if [ "$limit" -le 0 ]; then
        outcome="FAILED (no time left)"
    elif timeout --kill-after=10 "$((limit < LIMIT ? limit : LIMIT))" "$@" >"$OUT/$name.log" 2>&1; then
        outcome=ok
        [[ " $* " != *" --json "* || -s $OUT/$name.json ]] || outcome="FAILED (no result)"
    else
        outcome="FAILED ($?: $(tail -n 1 "$OUT/$name.log"))"
    fi
    results+=("$name: $outcome, $((SECONDS - begun)) s")
    echo "${results[-1]}"
}

generation() { # NAME ARGUMENTS...
    local name=$1
    shift
    part "$name" "$PYTHON" -m benchmarks.generation --device "$DEVICE" --json "$OUT/$name.json" "$@"
}

[ "$DEVICE" = cpu ] || part nvidia-smi nvidia-smi
[ "$DEVICE" = cpu ] || part tests "$PYTHON" -m pytest -m gpu -q -p no:randomly
for shape in $SHAPES; do
    generation "generation-$shape-$DEVICE" --shape "$shape" --precision "$PRECISIONS" --against "$PEERS" \
        --duration "$DURATION" --runs "$RUNS"
done
first=${SHAPES%% *}
generation "listeners-$first-$DEVICE" --shape "$first" --precision "${PRECISIONS%%,*}" --listeners "$LISTENERS" --duration "$DURATION"
generation "throughput-$first-$DEVICE" --shape "$first" --precision "$PRECISIONS" --against "$PEERS" --throughput "$BATCHES" \
    --duration "$DURATION" --runs "$RUNS"
[ "$DEVICE" = cpu ] || generation "steps-$first-$DEVICE" --shape "$first" --precision "$PRECISIONS" --steps --runs "$RUNS"
# shellcheck disable=SC2086 # several arguments
part "evaluation-$DEVICE" "$PYTHON" -m benchmarks.evaluation --device "$DEVICE" $SCORES --json "$OUT/evaluation-$DEVICE.json"
# shellcheck disable=SC2086
part "training-$DEVICE" "$PYTHON" -m benchmarks.training $STEP --json "$OUT/training-$DEVICE.json"

[[ "${results[*]}" != *FAILED* ]]
