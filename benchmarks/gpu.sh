#!/usr/bin/env bash
# All that is measured on a GPU, with the PyTorch that the machine has: tables into
# benchmarks/RESULTS.md, the report's three systems (shortened) into docs/results.
#
#     benchmarks/gpu.sh
#
# PYTHON, DEVICE, SEQUENCES, EPOCHS and STEPS may say otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
DEVICE=${DEVICE:-cuda}
STEPS=${STEPS:-500}
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"

# What matters most comes first: time on such a machine is short.
for batch in 20 100; do
    for how in "" --free-running; do
        "$PYTHON" benchmarks/train_step.py --device "$DEVICE" --batch "$batch" $how --rounds 5 --write
    done
done
"$PYTHON" benchmarks/schedule.py --device "$DEVICE" --steps "$STEPS" --write
"$PYTHON" benchmarks/sample.py --device "$DEVICE" --sequences 16 --write
"$PYTHON" benchmarks/scaling.py --device "$DEVICE" --net vgg64 --width 1 --batch 20 --processes 1 --write
"$PYTHON" benchmarks/interactive.py --device "$DEVICE" --write

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$PYTHON" -m foreframe simulate "$work/push" --sequences "${SEQUENCES:-2000}"
for name in lab-fp-cyclical lab-fp-monotonic lab-lp-cyclical; do
    epochs=${EPOCHS:-30}
    "$PYTHON" -m foreframe train "$name" --data "$work/push" --out "$work/$name" --device "$DEVICE" \
        --epochs "$epochs" --steps-per-epoch 100 --teacher-forcing-start $((epochs / 14))
    "$PYTHON" -m foreframe evaluate "$work/$name" --data "$work/push" --device "$DEVICE"
    "$PYTHON" -m foreframe report "$work/$name"
    mkdir -p "docs/results/$name"
    cp "$work/$name"/{run.json,history.json,evaluation.json,report.html} "docs/results/$name/"
done
