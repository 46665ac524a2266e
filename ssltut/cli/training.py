"""The commands that train, use and compare methods: train, recipe, predict, evaluate, compare."""

import argparse
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssltut.cli.output import Add, Answer, log, path_at, picked
from ssltut.errors import ConfigError, DataError
from ssltut.files import locked, write_atomically
from ssltut.text import plain

if TYPE_CHECKING:
    from ssltut.data.cohort import Cohort
    from ssltut.training.config import TrainConfig

SETTINGS = ("steps", "lr", "precision", "arch", "width", "norm", "select", "randomise")


def train(args: argparse.Namespace) -> Answer:
    """Train a method on a cohort; the same command continues a run that was stopped."""
    from ssltut.methods.contract import Supervision
    from ssltut.methods.registry import make_method
    from ssltut.training.loop import train as run_training
    from ssltut.training.run import check_finished

    method = make_method(args.method, method_options(args.option))
    config = training_config(args, args.seed)
    if args.init is not None and not args.unfinished:
        check_finished(args.init)
    cohort = open_cohort(args)
    if method.supervision is Supervision.ALL:
        cohort = cohort.with_budget("all")
    elif args.labelled is not None:
        cohort = cohort.with_budget(args.labelled)
    run = run_training(method, cohort, config, args.out, log=log, **picked(args, "init", "loggers"))
    step, rule, score = (run.selected[name] for name in ("step", "rule", "score"))
    values = {"folder": str(run.folder), "method": method.name, "selected": run.selected}
    text = f"{method.title}: weights of step {step} (rule: {rule}, {score:.3f}) in {run.folder}"
    return values, text, 0


def train_arguments(add: Add) -> None:
    add_cohort(add)
    add("--method", default="embedding_matching", help="its name, as ssltut methods lists it")
    words = "an option of the method, e.g. kernel=max_cosine"
    add("--option", action="append", default=[], metavar="NAME=VALUE", help=words)
    add("--labelled", type=int, help="use the first N labelled scans of the split")
    add("--init", type=path_at, help="start student and teacher from the weights of this run")
    add_unfinished(add)
    add("--seed", type=int, help="another seed is another training (default 0)")
    add("--out", type=path_at, required=True, help="folder of the run")
    add_training(add)


def recipe(args: argparse.Namespace) -> Answer:
    """Train a model for real scans on synthetic scans alone (hip: hip bone and femur)."""
    from ssltut.training.recipes import RECIPES

    run = RECIPES[args.name](args.out, args.profile, seed=args.seed, log=log)
    text = f"weights of step {run.selected['step']} (synthetic validation Dice"
    text += f" {run.selected['score']:.3f}) in {run.folder}\nnext: ssltut predict {run.folder}"
    text += " SCAN.nii.gz --min-component 0.2 --out PREDICTIONS"
    return {"folder": str(run.folder), "selected": run.selected}, text, 0


def recipe_arguments(add: Add) -> None:
    add("name", choices=["hip"])
    add("--out", type=path_at, required=True, help="folder of the run")
    add("--profile", default="class", help="smoke (a test) or class (default)")
    add("--seed", type=int, default=0, help="another seed is another training (default 0)")


def predict(args: argparse.Namespace) -> Answer:
    """Segment NIfTI scans with a trained run; predictions lie on the grid of their scan."""
    from ssltut.io.cohort_folder import scans_by_id
    from ssltut.io.nifti import scan_id
    from ssltut.training.predict import predict_files
    from ssltut.training.run import load_run

    run = load_run(args.run, unfinished=args.unfinished)
    targets: dict[Path, Path] = {}

    def tell(finding: Exception) -> None:
        log(f"note: {finding}")

    for path in args.scans:
        scans = list(scans_by_id(path, tell).values()) if path.is_dir() else [path]
        if not scans:
            fix = "give the folder that holds them; DICOM and sub-folders go through ssltut ingest"
            raise DataError("there are no scans *.nii or *.nii.gz here", where=path, fix=fix)
        targets |= {scan: args.out / f"{scan_id(scan)}_prediction.nii.gz" for scan in scans}
    there = {str(target) for target in targets.values() if target.exists()}
    wrong = predict_files(run, targets, log=log, **picked(args, "min_component", "workers", "dask"))
    for error in wrong.values():
        log(f"ssltut predict: {error}")
    written = [str(target) for scan, target in targets.items() if scan not in wrong]
    if not written:
        return [], "", 2
    lines = [f"{'found' if path in there else 'wrote'} {plain(path)}" for path in written]
    return written, "\n".join(lines), int(bool(wrong))


def predict_arguments(add: Add) -> None:
    add("run", type=path_at, help="folder of a trained run")
    add_unfinished(add)
    add("scans", nargs="+", type=path_at, help="scans, or folders of scans")
    add("--out", type=path_at, required=True, help="folder to write to")
    words = "remove pieces smaller than this share of the largest piece of their class (0.2 keeps"
    words += " left and right hips; default: 0, keep all)"
    add("--min-component", type=float, default=0.0, metavar="SHARE", help=words)
    add_workers(add)


def evaluate(args: argparse.Namespace) -> Answer:
    """Score a trained run on a part of a cohort."""
    from ssltut.evaluation.runs import score_run
    from ssltut.training.run import load_run

    run = load_run(args.run, unfinished=args.unfinished)
    cohort = open_cohort(args)
    if cohort.table != run.table:
        what = f"the run has the classes {run.table.names}, the cohort {cohort.table.names}"
        fix = "evaluate on a cohort with the same classes; --bone makes all of them one"
        raise ConfigError(what, where=args.run, fix=fix)
    if args.csv:
        if args.csv.exists():
            fix = "choose another --csv; nothing was overwritten"
            raise ConfigError("the file exists already", where=args.csv, fix=fix)
        args.csv.parent.mkdir(parents=True, exist_ok=True)
    cases = cohort.test() if args.part == "test" else cohort.validation()
    with locked(args.csv, beside=True) if args.csv else nullcontext():
        rows = score_run(run, cases, largest=args.largest)
        if args.csv:
            write_atomically(args.csv, rows.to_csv(index=False))
    mean = rows.groupby(["class", "metric"])["value"].mean().unstack("metric")
    missed = ((rows["metric"] == "dice") & (rows["status"] == "missed")).sum()
    text = f"{mean.round(3).to_string()}\n{rows['case'].nunique()} scans scored, "
    text += f"{missed} structures missed; selection: {run.selected}"
    return {"rows": rows.to_dict("records"), "selected": run.selected}, text, 0


def evaluate_arguments(add: Add) -> None:
    add("run", type=path_at, help="folder of a trained run")
    add_unfinished(add)
    add_cohort(add)
    words = "validation (default), or test, which is for the end"
    add("--part", choices=["validation", "test"], default="validation", help=words)
    add_largest(add)
    add("--csv", type=path_at, help="file for the score of every scan, class and metric")


def compare(args: argparse.Namespace) -> Answer:
    """Compare methods over label budgets and seeds; a stopped comparison can be continued."""
    from ssltut.evaluation.compare import compare as run_comparison
    from ssltut.evaluation.statistics import baseline_of, paired, report, summary
    from ssltut.metrics import METRICS

    baseline = args.baseline or baseline_of(args.methods)
    if args.metric not in METRICS or baseline not in args.methods:
        metrics = ", ".join(METRICS)
        fix = f"choose the metric among {metrics}, the baseline among the methods compared"
        raise ConfigError(f"the metric is {args.metric}, the baseline {baseline}", fix=fix)
    cohort, config = open_cohort(args), training_config(args)
    options = picked(args, "budgets", "seeds", "draw", "largest", "workers", "dask", "loggers")
    rows = run_comparison(cohort, args.methods, args.out, config=config, log=log, **options)
    values = {
        "summary": summary(rows, args.metric).to_dict("records"),
        "classes": summary(rows, args.metric, by_class=True).to_dict("records"),
        "paired": paired(rows, args.metric, baseline).to_dict("records"),
        "csv": str(args.out / "results.csv"),
    }
    failed = (rows["status"] == "failed").any()
    return values, report(rows, args.metric, baseline), int(failed)


def compare_arguments(add: Add) -> None:
    add_cohort(add)
    methods = ["mean_teacher", "ua_mt", "embedding_matching", "neighbour_vote"]
    listed = ["labels_only", "same_batch", *methods, "all_labels"]
    add("--methods", nargs="+", default=listed, help=f"default: {' '.join(listed)}")
    add("--budgets", nargs="+", type=int, default=[4], help="numbers of labelled scans (default 4)")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    words = "for every seed label the first scans of the split; by default they are drawn at random"
    add("--published-split", dest="draw", action="store_false", help=words)
    add_largest(add)
    words = "metric of the printed tables (default: dice); the CSV holds all"
    add("--metric", default="dice", help=words)
    words = "the method that the others are tested against (default: same_batch, or labels_only)"
    add("--baseline", help=words)
    add("--out", type=path_at, required=True, help="folder for runs and tables")
    add_workers(add)
    add_training(add)


def add_cohort(add: Add) -> None:
    words = "cohort folder (images/, labels/, split.json), or the left-atrium folder"
    add("cohort", type=path_at, help=words)
    add("--spacing", type=float, help="resample every scan to this voxel size, mm")
    words = "folder of the test scans of the left-atrium data"
    add("--test-list", type=path_at, metavar="FOLDER", help=words)
    words = "treat all classes as one: for hips the task of the paper, bone against the rest"
    add("--bone", action="store_true", help=words)
    words = "take N validation scans from the unlabelled scans that have a label"
    add("--validation", type=int, metavar="N", help=words)


def add_training(add: Add) -> None:
    add("--profile", default="class", help="smoke, class (default) or full")
    add("--steps", type=int, help="steps of training (default: as the profile says)")
    add("--lr", type=float, help="learning rate (default: as the profile says)")
    add("--patch", type=int, nargs="+", help="patch side in voxels, or three sides")
    add("--arch", help="unet, vnet or resnet; unet2d, vnet2d or resnet2d work slice by slice")
    add("--width", type=int, help="channels of the first level of the network")
    add("--norm", help="batch (default), instance or group")
    words = "weights to keep: last (default), or those with the best dice or hd95 on validation"
    add("--select", help=words)
    add("--randomise", type=float, metavar="STRENGTH", help="domain randomisation, 0 (off) to 1")
    add("--precision", help="auto, 32-true, bf16-mixed or 16-mixed")
    words = "log each run for tensorboard, or as package.module:function says; more than once, too"
    add("--log", dest="loggers", action="append", default=[], metavar="LOGGER", help=words)


def add_unfinished(add: Add) -> None:
    add("--unfinished", action="store_true", help="use a run that was stopped before its last step")


def add_workers(add: Add) -> None:
    words = "local processes (default: as many as suit the machine; 0: only this one)"
    add("--workers", type=int, metavar="N", help=words)
    words = "scheduler of a running Dask cluster, such as tcp://node1:8786 (docs/clusters.md)"
    add("--dask", metavar="ADDRESS", help=words)


def add_largest(add: Add) -> None:
    words = "score only the largest piece of every class; the table says so"
    add("--largest-component", dest="largest", action="store_true", help=words)


def open_cohort(args: argparse.Namespace) -> "Cohort":
    from ssltut.io.cohort_folder import read_cohort

    cohort = read_cohort(args.cohort, args.test_list)
    if args.spacing is not None:
        cohort = cohort.resampled(args.spacing)
    if args.validation is not None:
        cohort = cohort.with_validation(args.validation)
    return cohort.as_bone() if args.bone else cohort


def training_config(args: argparse.Namespace, seed: int | None = None) -> "TrainConfig":
    from ssltut.training.config import profile_named

    given = {"seed": seed, **picked(args, *SETTINGS)}
    changes = {name: value for name, value in given.items() if value is not None}
    if args.patch is not None:
        if len(args.patch) not in (1, 3):
            fix = "give one number of voxels for all, or three"
            raise ConfigError(f"--patch has {len(args.patch)} sides", fix=fix)
        changes["patch"] = tuple(args.patch * 3)[:3]
    return replace(profile_named(args.profile).train, **changes)


def method_options(pairs: Sequence[str]) -> dict[str, Any]:
    """The options in "name=value"; a value is JSON where it can be, else a word."""
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"the option {pair!r} has no value", fix="write --option name=value")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options
