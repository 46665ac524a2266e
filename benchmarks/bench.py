"""The speed of ssltut beside its peers: ``python benchmarks/bench.py [ROW ...]``; ``make bench``.

Each row is a module of this folder with a function ``rows``, and runs in a process of its own with
one thread; its record is benchmarks/results/bench-ROW.json. Peers that are not installed are
skipped and named.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from turns import RESULTS, Row, record

ROWS = ("starting", "drawing", "neighbours", "cosine_map", "surfaces", "label_maps", "loading")
ROWS += ("synthetic", "training_step", "growth", "limits")


def one(name: str) -> None:
    """Measure a row in this process, and record it."""
    import torch

    torch.set_num_threads(1)
    record(name, importlib.import_module(name).rows())


def lines(row: Row) -> list[str]:
    """The row as lines of the printed table."""
    first, *others = row.timings
    ours = row.timings[first]
    spread = f"{ours['cpu_least']:.4g} to {ours['cpu_most']:.4g}"
    text = [f"{row.what:52} {ours['cpu']:9.4g} ms ({spread})   goal: {row.goal}"]
    ratios = row.ratios()
    for name in others:
        text.append(f"    {ratios[name]:6.3g} of {name} ({row.timings[name]['cpu']:.4g} ms)")
    text += [f"    {name}: {value}" for name, value in row.notes.items()]
    return text + [f"    {name} is not installed: skipped" for name in row.skipped]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", metavar="ROW", help=f"all, or of {', '.join(ROWS)}")
    parser.add_argument("--one", choices=ROWS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one)
        return 0
    if unknown := set(args.what) - set(ROWS):
        parser.error(f"there is no row {', '.join(unknown)}")
    failed, begun = [], time.monotonic()
    here = Path(__file__).resolve()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    path = [str(here.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    for name in args.what or ROWS:
        done = subprocess.run([sys.executable, str(here), "--one", name], env=environment)
        if done.returncode:
            failed.append(name)
            continue
        content = json.loads((RESULTS / f"bench-{name}.json").read_text(encoding="utf-8"))
        for row in content["rows"]:
            print("\n".join(lines(Row(**row))), flush=True)
    print(f"CPU time, one thread; {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)
    if failed:
        print(f"not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
