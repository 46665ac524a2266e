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
from pathlib import Path

import pandas as pd
import torch

from ssltut.data.cohort import Cohort
from ssltut.data.patches import Intensity, PatchPool
from ssltut.evaluation.runs import provenance
from ssltut.methods.contract import Plan, Progress, Supervision
from ssltut.methods.registry import METHODS, make_method
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.batches import draw_batch
from ssltut.training.config import PROFILES, TrainConfig
from ssltut.training.loop import train
from ssltut.training.networks import build_nets

PRECISIONS = ("32-true", "bf16-mixed")
TINY = TrainConfig(steps=4, patch=(16, 16, 16), width=4, depth=2, validate_every=2, lr=3e-3)
LATE = Progress(85, 100)  # by then every stage of every method has begun
UNCOUNTED, COUNTED = 2, 5


def check(name: str, cohort: Cohort, precision: str) -> dict[str, object]:
    """Two steps, a stop, two more, a prediction: what came out, or what went wrong."""
    method, config = make_method(name), replace(TINY, precision=precision)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            train(method, cohort, config, Path(folder) / "run", stop_after=2, log=lambda line: None)
        except Exception as error:  # a failing method is what this looks for
            return {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        try:
            run = train(method, cohort, config, Path(folder) / "run", log=lambda line: None)
            found = run.probabilities(cohort.validation()[0])
        except Exception as error:
            return {"status": "failed after the stop", "error": f"{type(error).__name__}: {error}"}
    finite = (
        bool(torch.isfinite(torch.as_tensor(found)).all()) and run.history["total"].notna().all()
    )
    return {
        "status": "ok" if finite and len(run.history) == 4 else "not finite",
        "loss of step 4": run.history["total"].iloc[-1],
        "seconds": round(time.perf_counter() - begun, 2),
        "error": "",
    }


def speed(
    name: str, pools: Sequence[PatchPool], config: TrainConfig, n_classes: int, device: torch.device
) -> dict[str, object]:
    """Seconds a step, peak memory and host synchronisations of one method at one size."""
    method = make_method(name)
    nets = {role: net.to(device) for role, net in build_nets(method, config, n_classes).items()}
    learning = [p for net in nets.values() for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=config.lr, betas=config.betas)
    on_gpu = device.type == "cuda"
    seconds, n_syncs = [], 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for n in range(UNCOUNTED + COUNTED):
        progress = LATE._replace(step=LATE.step + n)
        plan = method.plan(progress, Plan(config.labelled, config.unlabelled))
        unlabelled = pools[1] if method.supervision is Supervision.SEMI else None
        begun = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if on_gpu:
                torch.cuda.set_sync_debug_mode("warn")
            batch = draw_batch(pools[0], unlabelled, plan, config, n_classes, n)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision != "32-true"):
                outs = method.forward(batch, nets, progress)
                terms = method.terms(batch, nets, outs, progress)
            total = sum(term.weight * term.value for term in terms.values() if term.weight)
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()
            method.update(batch, nets, outs, progress)
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


def pools_of(cohort: Cohort, config: TrainConfig, device: torch.device) -> list[PatchPool]:
    cases = cohort.training("labelled"), cohort.training("unlabelled")
    intensity = Intensity.of([case for part in cases for case in part])
    return [PatchPool(part, intensity, config.patch, device) for part in cases]


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
    fill(
        args.out / "checks.csv",
        checks,
        lambda method, precision: check(method, toy, precision),
        until,
    )
    sizes = {"tiny": TINY} if args.tiny else {n: PROFILES[n].train for n in ("class", "full")}
    side = {"tiny": 32, "class": 64, "full": 128}
    for size, config in sizes.items():
        cohort = synthetic_cohort(8, size=side[size], labelled=4, validation=1, test=1)
        pools = pools_of(cohort, config, device)
        for precision in PRECISIONS:
            keys = [{"size": size, "precision": precision, "method": m} for m in args.methods]

            def measure(size: str, precision: str, method: str) -> dict[str, object]:
                changed = replace(config, precision=precision)  # noqa: B023 - used in this turn
                return speed(method, pools, changed, cohort.table.n_classes, device)  # noqa: B023

            fill(args.out / "speed.csv", keys, measure, until)
        if device.type == "cuda" and size == "class":
            there = pools_of(cohort, config, torch.device("cpu"))
            keys = [{"size": size, "method": m} for m in args.methods]

            def on_cpu(size: str, method: str) -> dict[str, object]:
                plain = replace(config, precision="32-true")  # noqa: B023
                return speed(method, there, plain, cohort.table.n_classes, torch.device("cpu"))  # noqa: B023

            fill(args.out / "cpu.csv", keys, on_cpu, until)


if __name__ == "__main__":
    main()
