"""What every method does on a GPU: ``python results/gpu.py`` writes results/gpu/*.csv in minutes.

1. ``checks.csv``: every method, and every other form of one that a study trains, is trained in fp32
   and in bf16 for two steps by the one training loop, stopped, continued for two more, and predicts
   a scan. A failure is a row with its message.
2. ``speed.csv``: seconds a step (median of five after two that are not counted), peak memory and
   host synchronisations of one step, at the class size and at the size of the full profile.
3. ``cpu.csv``: seconds a step on the CPU of the same machine (median of three after one), at the
   class size, and at the full size of labels only.

``--tiny`` does all at toy sizes, where there is no GPU with ``--device cpu``. The same command goes
on where it stopped: a row is measured again when the machine or the code of the package is another.
Rows of other machines stay. results/gpu.sh runs this in time.
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
from typing import Any

import pandas as pd
import torch
from studies import STUDIES, Arm

import ssltut
from ssltut.data.cohort import Cohort
from ssltut.evaluation.runs import provenance
from ssltut.files import digest_of, write_atomically
from ssltut.methods.contract import Progress
from ssltut.methods.registry import METHODS, make_method
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.config import PROFILES, TrainConfig
from ssltut.training.loop import train
from ssltut.training.steps import open_run

FP32, BF16 = "32-true", "bf16-mixed"
TINY = TrainConfig(steps=4, patch=(16, 16, 16), width=4, depth=2, validate_every=2, lr=3e-3)
SIZES = {"tiny": TINY, "class": PROFILES["class"].train, "full": PROFILES["full"].train}
SIDE = {"tiny": 32, "class": 64, "full": 128}  # of the scans, in voxels
LATE = Progress(85, 100)  # by then every stage of every method has begun
COUNTED = {"cuda": (2, 5), "cpu": (1, 3)}  # steps before the clock starts, and with it


def forms() -> dict[str, Arm]:
    """Every method, and every other form of one that a study trains, by what makes it another.

    Learning rates make none.
    """
    arms = [Arm(method) for method in METHODS]
    for study in STUDIES.values():
        network = {"arch": study.config.arch, "norm": study.config.norm}
        arms += [replace(arm, config=network | arm.config) for arm in study.arms.values()]
    found = {}
    for arm in arms:
        usual = make_method(arm.method).options
        options = {name: value for name, value in arm.options.items() if value != usual[name]}
        config = {
            name: value
            for name, value in arm.config.items()
            if name != "lr" and value != getattr(TINY, name)
        }
        changed = [f"{name}={value}" for name, value in (options | config).items()]
        found[" ".join([arm.method, *changed])] = Arm(arm.method, options, config)
    return found


FORMS = forms()
MEASURED = [*METHODS, "vote_beside host=medl"]


def provenance_of_code() -> dict[str, str]:
    """Command, commit and machine, and a hash of the package: a row holds for these."""
    code = sorted(Path(ssltut.__file__).parent.rglob("*.py"))
    return provenance() | {"code": digest_of(*code)}


def check(method: str, precision: str, cohort: Cohort) -> dict[str, Any]:
    """Two steps, a stop, two more, a prediction: what came out, or what went wrong."""
    form = FORMS[method]
    config = replace(TINY, precision=precision, **form.config)
    made = make_method(form.method, form.options)
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
    size: str, precision: str, method: str, cohort: Cohort, device: torch.device
) -> dict[str, Any]:
    """Seconds a step of the training loop, peak memory and host synchronisations."""
    form, on_gpu = FORMS[method], device.type == "cuda"
    config = replace(SIZES[size], steps=LATE.total, precision=precision, **form.config)
    made = make_method(form.method, form.options)
    uncounted, counted = COUNTED[device.type]
    with tempfile.TemporaryDirectory() as folder:
        run = {"device": device, "log": lambda line: None}
        training = open_run(made, cohort, config, Path(folder), **run)
    training.done = LATE.step
    seconds, n_syncs = [], 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(uncounted + counted):
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
        "seconds a step": statistics.median(seconds[uncounted:]),
        "peak memory (MiB)": round(peak, 1),
        "host synchronisations": n_syncs if on_gpu else float("nan"),
    }


def fill(
    file: Path, keys: Sequence[dict], measure: Callable[..., dict], until: float
) -> list[dict[str, Any]]:
    """One row of ``file`` for each of ``keys``, unless it is there of this machine and code.

    Time bounds the rest. Returns the rows of ``keys`` that are done. A GPU that is lost to this
    process ends it.
    """
    here, names, done = provenance_of_code(), list(keys[0]), []
    before = pd.read_csv(file).to_dict("records") if file.exists() else []
    rows = {(row["machine"], *(str(row.get(name)) for name in names)): row for row in before}
    for key in keys:
        place = (here["machine"], *map(str, key.values()))
        if rows.get(place, {}).get("code") == here["code"]:
            done.append(rows[place])
            continue
        if time.monotonic() > until:
            print(f"{file.name}: no time for the rest, the same command goes on")
            break
        try:
            found = measure(**key)
        except Exception as error:  # one method must not end the others
            found = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        rows[place] = key | found | here
        done.append(rows[place])
        write_atomically(file, pd.DataFrame(list(rows.values())).to_csv(index=False))
        print(*key.values(), *found.values(), flush=True)
        if gpu_is_lost():  # whatever came next would fail for no fault of its own
            raise SystemExit("the GPU answers this process no more: the same command goes on")
    return done


def gpu_is_lost() -> bool:
    """Whether an error on the GPU was its last for this process, as a failed assertion there is."""
    if not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def fill_checks(out: Path, methods: Sequence[str], until: float) -> list[str]:
    """Every form in both precisions. Returns those that do not run here."""
    toy = synthetic_cohort(8, size=32, labelled=2, validation=1, test=1)
    keys = [{"method": form, "precision": p} for p in (FP32, BF16) for form in methods]
    rows = fill(out / "checks.csv", keys, partial(check, cohort=toy), until)
    bad = [f"{row['method']} in {row['precision']}" for row in rows if row.get("status") != "ok"]
    print(f"checks: {len(rows) - len(bad)} ok of {len(rows)} done, {len(keys)} in all", flush=True)
    return bad


def fill_speed(
    out: Path, methods: Sequence[str], device: torch.device, tiny: bool, until: float
) -> None:
    """Seconds a step, what is asked for most often first."""
    cpu = torch.device("cpu")
    bound = [method for method in methods if method == "labels_only"]
    measured = [
        ("speed.csv", device, "class", FP32, methods),
        ("speed.csv", device, "full", FP32, methods),
        ("cpu.csv", cpu, "class", FP32, methods),
        ("speed.csv", device, "full", BF16, methods),
        ("speed.csv", device, "class", BF16, methods),
        ("cpu.csv", cpu, "full", FP32, bound),
    ]
    if tiny:
        measured = [
            ("speed.csv", device, "tiny", FP32, methods),
            ("speed.csv", device, "tiny", BF16, methods),
            ("cpu.csv", cpu, "tiny", FP32, methods),
        ]
    for name, where, size, precision, own in measured:
        keys = [{"size": size, "precision": precision, "method": method} for method in own]
        cohort = synthetic_cohort(8, size=SIDE[size], labelled=4, validation=1, test=1)
        if keys:
            fill(out / name, keys, partial(speed, cohort=cohort, device=where), until)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["checks", "speed"])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="toy sizes alone")
    parser.add_argument("--methods", nargs="+", choices=list(FORMS), metavar="FORM")
    parser.add_argument("--minutes", type=float, default=8.0, help="start nothing new after")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "gpu")
    args = parser.parse_args()
    until, device = time.monotonic() + 60.0 * args.minutes, torch.device(args.device)
    bad = []
    if "checks" in args.parts:
        bad = fill_checks(args.out, args.methods or list(FORMS), until)
    if "speed" in args.parts:
        fill_speed(args.out, args.methods or MEASURED, device, args.tiny, until)
    if bad:
        raise SystemExit(f"not ok: {', '.join(bad)} (checks.csv has the messages)")


if __name__ == "__main__":
    main()
