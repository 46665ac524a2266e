"""What every method does on a GPU: ``python results/gpu.py`` writes results/gpu/*.csv in minutes.

1. ``checks.csv``: every method, in fp32 and in bf16, is trained for two steps by the one training
   loop, stopped, continued for two more and predicts a scan. A failure is a row with its message.
2. ``speed.csv``: seconds a step (median of five after two that are not counted), peak memory and
   host synchronisations of one step, at the class size and at the size of the full profile.
3. ``cpu.csv``: the class size again on the CPU of the same machine.

``--device cpu --tiny`` runs the first two parts at toy sizes, where there is no GPU. What was
measured so far is kept: the same command goes on where it stopped.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from ssltut.data.cohort import Cohort
from ssltut.evaluation.runs import provenance
from ssltut.methods.contract import Progress
from ssltut.methods.registry import METHODS, make_method
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.config import PROFILES, TrainConfig
from ssltut.training.loop import open_run, train

PRECISIONS = ("32-true", "bf16-mixed")
TINY = TrainConfig(steps=4, patch=(16, 16, 16), width=4, depth=2, validate_every=2, lr=3e-3)
LATE = Progress(85, 100)  # by then every stage of every method has begun
UNCOUNTED, COUNTED = 2, 5


def check(method: str, precision: str, cohort: Cohort) -> dict[str, object]:
    """Two steps, a stop, two more, a prediction: what came out, or what went wrong."""
    config, made = replace(TINY, precision=precision), make_method(method)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        folder, quiet = Path(place) / "run", {"log": lambda line: None}
        try:
            train(made, cohort, config, folder, stop_after=2, **quiet)
        except Exception as error:  # a failing method is what this looks for
            return {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        try:
            run = train(made, cohort, config, folder, **quiet)
            found = run.probabilities(cohort.validation()[0])
        except Exception as error:
            return {"status": "failed after the stop", "error": f"{type(error).__name__}: {error}"}
    finite = bool(torch.isfinite(torch.as_tensor(found)).all())
    finite = finite and bool(run.history["total"].notna().all())
    return {
        "status": "ok" if finite and len(run.history) == 4 else "not finite",
        "loss of step 4": run.history["total"].iloc[-1],
        "seconds": round(time.perf_counter() - begun, 2),
        "error": "",
    }


def speed(
    method: str, cohort: Cohort, config: TrainConfig, precision: str, device: torch.device
) -> dict[str, object]:
    """Seconds a step of the training loop, peak memory and host synchronisations."""
    config, on_gpu = replace(config, steps=LATE.total, precision=precision), device.type == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        run = {"device": device, "log": lambda line: None}
        training = open_run(make_method(method), cohort, config, Path(folder), **run)
    training.done = LATE.step
    seconds, n_syncs = [], 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(UNCOUNTED + COUNTED):
        begun = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if on_gpu:
                torch.cuda.set_sync_debug_mode("warn")
            training.step(training.draw(training.done))
            if on_gpu:
                torch.cuda.set_sync_debug_mode("default")
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
        n_syncs = sum("synchroniz" in str(warning.message) for warning in caught)
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else float("nan")
    return {
        "seconds a step": statistics.median(seconds[UNCOUNTED:]),
        "peak memory (MiB)": round(peak, 1),
        "host synchronisations": n_syncs if on_gpu else float("nan"),
    }


def fill(file: Path, keys: Sequence[dict], measure: Callable[..., dict], until: float) -> None:
    """One row of ``file`` for each of ``keys``; rows that are there stay, and time bounds the
    rest.
    """
    rows = pd.read_csv(file).to_dict("records") if file.exists() else []
    done = {tuple(str(row[name]) for name in keys[0]) for row in rows}
    for key in keys:
        if tuple(map(str, key.values())) in done:
            continue
        if time.monotonic() > until:
            print(f"{file.name}: no time for the rest, the same command goes on")
            return
        try:
            found = measure(**key)
        except Exception as error:  # one method must not end the others
            found = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        rows.append(key | found | provenance())
        file.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(file, index=False)
        print(*key.values(), *found.values(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="toy sizes alone, for a CPU")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--minutes", type=float, default=8.0, help="start nothing new after")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "gpu")
    args = parser.parse_args()
    until, device = time.monotonic() + 60.0 * args.minutes, torch.device(args.device)
    toy = synthetic_cohort(8, size=32, labelled=2, validation=1, test=1)
    checks = [{"method": m, "precision": p} for p in PRECISIONS for m in args.methods]
    fill(args.out / "checks.csv", checks, partial(check, cohort=toy), until)
    sizes = {"tiny": TINY} if args.tiny else {n: PROFILES[n].train for n in ("class", "full")}
    side = {"tiny": 32, "class": 64, "full": 128}
    for size, config in sizes.items():
        cohort = synthetic_cohort(8, size=side[size], labelled=4, validation=1, test=1)

        def measure(
            where: torch.device,
            size: str,
            method: str,
            precision: str = "32-true",
            cohort: Cohort = cohort,
            config: TrainConfig = config,
        ) -> dict[str, object]:
            return speed(method, cohort, config, precision, where)

        for precision in PRECISIONS:
            keys = [{"size": size, "precision": precision, "method": m} for m in args.methods]
            fill(args.out / "speed.csv", keys, partial(measure, device), until)
        if device.type == "cuda" and size == "class":
            keys = [{"size": size, "method": m} for m in args.methods]
            fill(args.out / "cpu.csv", keys, partial(measure, torch.device("cpu")), until)


if __name__ == "__main__":
    main()
