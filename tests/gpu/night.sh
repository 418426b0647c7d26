#!/usr/bin/env bash
# What only a GPU can tell of training: its tests, then a night's speed beside TRL's, at an 8B's shape.
#
# Usage: tests/gpu/night.sh MODEL [OUT]
#   MODEL  a model folder; made with training.bench.random_model where it is missing (SHAPE=qwen3-8b)
#   OUT    where logs and night.json go (build/gpu)
#   STEPS="ours trl" runs these alone; TESTS="FILE..." other tests than training's
#
# Each step has a time of its own (TIMES=3 gives three times as much), so that one that hangs costs no more than that.
# Every step runs, whatever failed before it; what failed is told last.
set -u
cd "$(dirname "$0")/../.."
model=${1:?"which model folder?"} out=${2:-build/gpu} shape=${SHAPE:-qwen3-8b} python=${PYTHON:-python3}
steps=" ${STEPS:-model tests work ours whole trl} " work=$model.work.json
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
mkdir -p "$out"
failed=""

step() { # name, seconds, command...
    local name=$1 seconds=$2 began=$SECONDS
    shift 2
    case $steps in *" $name "*) ;; *) return ;; esac
    timeout --signal=INT --kill-after=5 $((seconds * ${TIMES:-1})) "$@" >"$out/$name.log" 2>&1
    local code=$?
    echo "$name: exit $code after $((SECONDS - began)) s"
    [ $code -eq 0 ] || { failed="$failed $name"; tail -n 25 "$out/$name.log"; }
}

if [ ! -e "$model/model.safetensors.index.json" ]; then # which is written last
    step model 60 "$python" -m training.bench.random_model --shape "$shape" "$model"
fi
# shellcheck disable=SC2086 - several files
step tests 75 "$python" -m pytest -q -m gpu -p no:cacheprovider --durations 5 ${TESTS:-tests/training/test_gpu.py}
step work 40 "$python" - "$model" "$work" <<'PY'
import sys
from pathlib import Path

from assistant.models import ModelFiles
from training.bench import night_speed, speed

model, file = map(Path, sys.argv[1:])
work = speed.night_work(speed.Words(ModelFiles(model.name, model, "0" * 64)), Path("/tmp/copies"))
night_speed.write(work, file)
print(len(work.rows), "rows,", work.tokens, "tokens in", work.epochs, "epochs")
PY
# What `nightschool bench-speed --parts night` runs, one by one: TRL last, which may be missing.
for how in ours whole trl; do
    step "$how" 70 "$python" -m training.bench.night_speed "$how" "$work"
done
"$python" - "$out" <<'PY'
import json, sys
from pathlib import Path

out = Path(sys.argv[1])
found = {}
for how in ("ours", "whole", "trl"):
    try:
        lines = (out / f"{how}.log").read_text(errors="replace").splitlines()
        found[how] = json.loads([line for line in lines if line.startswith("{")][-1])
    except (OSError, ValueError, IndexError):
        found[how] = None
(out / "night.json").write_text(json.dumps(found, indent=1))
tests = out / "tests.log"
print("----", *(tests.read_text(errors="replace").strip().splitlines()[-1:] if tests.exists() else ()), sep="\n")
print(*(f"{how}: {told}" for how, told in found.items()), sep="\n")
if found["ours"] and found["trl"]:
    for what in ("tokens_per_s", "peak_mb"):
        print(f"ours / TRL, {what}: {found['ours'][what] / found['trl'][what]:.2f}")
PY
echo "failed:${failed:- nothing}"
[ -z "$failed" ]
