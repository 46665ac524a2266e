#!/usr/bin/env bash
# A GPU in ten minutes: does every method run there, how fast, and a record at a larger size.
#
#   bash results/gpu.sh           on a Linux machine with a CUDA GPU; no network is needed
#   bash results/gpu.sh --tiny    the same parts at toy size on any machine, into build/gpu/tiny
#
# It ends within MINUTES (9), and the same command goes on where it stopped. On one H100 with 16
# cores, by what was measured or (~) worked out from it, the first call does this:
#
#   0:00  looks for Python, the libraries and the GPU                                   ~ 10 s
#   0:10  checks   46 forms of methods in fp32 and bf16: two steps, a stop, two more,   ~ 95 s
#                  a scan predicted (20 s for the first, .74 s for each of the others)
#   1:45  speed    seconds a step, memory, synchronisations; the same on the CPU        190 s,
#                  (all of it takes ~ 5 min: the second call does the rest)             then stops
#   4:55  scans    80 of 96^3 voxels in as many processes as cores (.8 s each)          ~ 10 s
#   5:05  study    `results/studies.py gpu`: 18 runs, ~ 10 to 50 s each, ~ 2 to 3 min   210 s,
#                  a draw; one that is under way goes on from its last validation       then stops
#   8:40  record   what is done so far, as gpu.csv and gpu_runs.csv                     ~ 10 s
#
# A part that is done, or needs less than its share, leaves its time to the next ones.
#
#   MINUTES  9              all parts together
#   PARTS    "checks speed study"
#   OUT      results/gpu    where the tables go
#   RUNS     build/gpu      where the runs of the study are kept, to go on from
#   PYTHON   .venv/bin/python where there is one, else python3
# On a machine that is lent, take OUT and RUNS with you: another one goes on with them.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" TQDM_DISABLE=1

STUDY=gpu
TINY=()
if [[ ${1:-} == --tiny ]]; then
  STUDY=toy
  TINY=(--tiny --device cpu --methods labels_only embedding_matching)
  OUT=${OUT:-build/gpu/tiny}
  RUNS=${RUNS:-build/gpu/tiny/runs}
fi
OUT=${OUT:-results/gpu}
RUNS=${RUNS:-build/gpu}
PARTS=${PARTS:-checks speed study}
PYTHON=${PYTHON:-$([[ -x .venv/bin/python ]] && echo .venv/bin/python || echo python3)}
CORES=$(getconf _NPROCESSORS_ONLN)
LIMIT=$(awk "BEGIN { print int(60 * ${MINUTES:-9}) }")
STARTING=15 # s that a part has beyond its own clock: the libraries are loaded, the last row ends
WRITING=25  # s kept for the record
FAILED=()

say() { printf '[%d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

# part NAME SHARE COMMAND...: run a command, which gets --minutes, for at most SHARE seconds.
part() {
  local name=$1 share=$2 status=0
  local left=$((LIMIT - WRITING - SECONDS))
  shift 2
  if ((share > left)); then share=$left; fi
  if ((share <= STARTING)); then
    say "$name: no time, the same command goes on"
    return
  fi
  say "$name: at most $share s"
  timeout -k 5 "$share" "$@" --minutes "$(awk "BEGIN { print ($share - $STARTING) / 60 }")" ||
    status=$?
  if ((status == 124 || status == 137)); then
    say "$name: stopped, the same command goes on"
  elif ((status)); then
    FAILED+=("$name")
  fi
}

say "$PYTHON, $(git describe --always --dirty 2>/dev/null || echo 'no git'), $CORES cores"
"$PYTHON" - "${TINY[*]}" <<'LOOK' || exit 1
import sys
from importlib.util import find_spec

needed = "torch numpy scipy pandas nibabel skimage lightning_fabric safetensors pooch tqdm"
missing = [name for name in needed.split() if find_spec(name) is None]
if sys.version_info < (3, 11):
    sys.exit(f"gpu.sh: {sys.executable} is older than Python 3.11. Next: PYTHON=/path/to/python")
if missing:
    fix = "make .venv/ssltut.stamp, or PYTHON=/path/to/a/python that has them"
    sys.exit(f"gpu.sh: {sys.executable} lacks {', '.join(missing)}. Next: {fix}")
if not sys.argv[1]:
    import torch

    if not torch.cuda.is_available():
        fix = "a machine with one, or bash results/gpu.sh --tiny"
        sys.exit(f"gpu.sh: torch {torch.__version__} sees no CUDA GPU. Next: {fix}")
    print(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}")
LOOK

for name in $PARTS; do
  case $name in
    checks | speed)
      [[ $name == checks ]] && percent=25 || percent=35
      part "$name" $((LIMIT * percent / 100)) \
        "$PYTHON" results/gpu.py --parts "$name" --out "$OUT" "${TINY[@]}"
      ;;
    study)
      OMP_NUM_THREADS=1 part study "$LIMIT" \
        "$PYTHON" results/studies.py "$STUDY" --scans "$CORES" --folder "$RUNS"
      ;;
    *)
      say "there is no part $name: PARTS are checks, speed and study"
      exit 1
      ;;
  esac
done
if compgen -G "$RUNS/$STUDY/*/rows/*.csv" >/dev/null; then
  say "record: $OUT/$STUDY.csv"
  left=$((LIMIT - SECONDS))
  timeout -k 5 $((left > 10 ? left : 10)) \
    "$PYTHON" results/studies.py "$STUDY" --folder "$RUNS" --write --to "$OUT" || FAILED+=(record)
fi
say "done${FAILED[*]:+, but something failed in: ${FAILED[*]}}"
((${#FAILED[@]} == 0))
