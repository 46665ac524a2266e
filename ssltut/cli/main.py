"""The command line: one clear line and exit code 2 for bad input, nothing overwritten."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ssltut import __version__
from ssltut.cli.data import add_data_commands
from ssltut.cli.output import Parser, log_of, print_result
from ssltut.errors import ConfigError, DataError, SsltutError
from ssltut.methods.contract import Supervision


def configure(args: argparse.Namespace):
    from ssltut.training.config import profile_named

    changes = {
        name: getattr(args, name)
        for name in ("steps", "lr", "seed", "precision", "arch", "randomise")
        if getattr(args, name, None) is not None
    }
    if args.patch is not None:
        if len(args.patch) not in (1, 3):
            raise ConfigError(
                f"--patch has {len(args.patch)} sides",
                fix="give one number of voxels for all, or three",
            )
        changes["patch"] = tuple(args.patch) * (3 if len(args.patch) == 1 else 1)
    return replace(profile_named(args.profile).train, **changes)


def parse_options(pairs: Sequence[str]) -> dict[str, object]:
    options = {}
    for pair in pairs:
        name, found, value = pair.partition("=")
        if not found:
            raise ConfigError(f"the option {pair!r} has no value", fix="write --option name=value")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options


def open_cohort(args: argparse.Namespace):
    from ssltut.io.cohort_folder import read_cohort

    cohort = read_cohort(args.cohort, args.test_list)
    if args.spacing is not None:
        cohort = cohort.resampled(args.spacing)
    return cohort.as_bone() if args.bone else cohort


def train(args: argparse.Namespace) -> int:
    from ssltut.methods.registry import make_method
    from ssltut.training.loop import train as run_training

    method, config, cohort = (
        make_method(args.method, parse_options(args.option)),
        configure(args),
        open_cohort(args),
    )
    if args.labelled is not None or method.supervision is Supervision.ALL:
        cohort = cohort.with_budget(
            "all" if method.supervision is Supervision.ALL else args.labelled
        )
    run = run_training(method, cohort, config, args.out, init=args.init, log=log_of(args))
    print_result(
        args,
        {"folder": str(run.folder), "method": method.name, "selected": run.selected},
        f"{method.title}: weights of step {run.selected['step']} (rule: {run.selected['rule']}, "
        f"{run.selected['score']:.3f}) in {run.folder}",
    )
    return 0


def recipe(args: argparse.Namespace) -> int:
    from ssltut.training.recipes import RECIPES

    run = RECIPES[args.name](args.out, args.profile, seed=args.seed, log=log_of(args))
    print_result(
        args,
        {"folder": str(run.folder), "selected": run.selected},
        f"weights of step {run.selected['step']} (synthetic validation Dice"
        f" {run.selected['score']:.3f}) in {run.folder}\nnext: ssltut predict {run.folder}"
        " SCAN.nii.gz --min-component 0.2 --out PREDICTIONS",
    )
    return 0


def predict(args: argparse.Namespace) -> int:
    from ssltut.io.cohort_folder import by_id
    from ssltut.io.nifti import scan_id
    from ssltut.training.predict import predict_files
    from ssltut.training.run import load_run

    run, targets = load_run(args.run), {}
    for path in args.scans:
        scans = list(by_id(path).values()) if path.is_dir() else [path]
        if not scans:
            raise DataError(
                "there are no scans *.nii or *.nii.gz here",
                where=path,
                fix="give the folder that holds them",
            )
        targets |= {scan: args.out / f"{scan_id(scan)}_prediction.nii.gz" for scan in scans}
    wrong = predict_files(
        run,
        targets,
        min_component=args.min_component,
        workers=args.workers,
        dask=args.dask,
        log=log_of(args),
    )
    for error in wrong.values():
        print(f"ssltut predict: {error}", file=sys.stderr)
    written = [str(target) for scan, target in targets.items() if scan not in wrong]
    if written:
        print_result(args, written, "\n".join(f"wrote {target}" for target in written))
    return 0 if not wrong else 1 if written else 2


def evaluate(args: argparse.Namespace) -> int:
    from ssltut.evaluation.compare import score_run
    from ssltut.training.run import load_run

    run, cohort = load_run(args.run), open_cohort(args)
    if cohort.table != run.table:
        raise ConfigError(
            f"the run knows the classes {run.table.names}, the cohort has {cohort.table.names}",
            where=args.run,
            fix="evaluate on a cohort with the same classes, or add --bone",
        )
    if args.csv and args.csv.exists():
        raise ConfigError(
            "the file exists already",
            where=args.csv,
            fix="choose another --csv; nothing was overwritten",
        )
    if args.csv:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
    rows = score_run(run, getattr(cohort, args.part)(), largest=args.largest_component)
    if args.csv:
        rows.to_csv(args.csv, index=False)
    mean = rows.groupby(["class", "metric"])["value"].mean().unstack("metric")
    missed = int((rows[rows["metric"] == "dice"]["status"] == "missed").sum())
    text = (
        f"{mean.round(3).to_string()}\n{rows['case'].nunique()} scans scored, {missed} structures"
        f" missed; selection: {run.selected}"
    )
    print_result(args, {"rows": rows.to_dict("records"), "selected": run.selected}, text)
    return 0


def compare(args: argparse.Namespace) -> int:
    from ssltut.evaluation.compare import compare as run_comparison
    from ssltut.evaluation.statistics import paired, report, summary
    from ssltut.metrics import METRICS

    if args.metric not in METRICS or args.baseline not in args.methods:
        raise ConfigError(
            f"the metric is {args.metric}, the baseline {args.baseline}",
            fix=(
                f"choose the metric among {', '.join(METRICS)}, the baseline among the methods"
                " compared"
            ),
        )
    rows = run_comparison(
        open_cohort(args),
        args.methods,
        args.out,
        config=configure(args),
        budgets=args.budgets,
        seeds=args.seeds,
        draw=not args.published_split,
        largest=args.largest_component,
        workers=args.workers,
        dask=args.dask,
        log=log_of(args),
    )
    table, classes, against = (
        summary(rows, args.metric),
        summary(rows, args.metric, by_class=True),
        paired(rows, args.metric, args.baseline),
    )
    print_result(
        args,
        {
            "summary": table.to_dict("records"),
            "classes": classes.to_dict("records"),
            "paired": against.to_dict("records"),
            "csv": str(args.out / "results.csv"),
        },
        report(rows, args.metric, args.baseline),
    )
    return 0 if not (rows["status"] == "failed").any() else 1


def methods(args: argparse.Namespace) -> int:
    from ssltut.methods.registry import method_table

    table = method_table()
    print_result(
        args,
        table,
        "\n".join(
            f"{m['name']:20} {m['title']:38} {m['year']}  {m['kind']:15} {m['paper']}"
            for m in table
        ),
    )
    return 0


def doctor(args: argparse.Namespace) -> int:
    from ssltut.cli.doctor import facts

    found = facts()
    print_result(args, found, "\n".join(f"{name:14} {value}" for name, value in found.items()))
    return 0


def add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="class", help="smoke, class (default) or full")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--patch", type=int, nargs="+", help="patch side in voxels, or three sides")
    parser.add_argument(
        "--arch", help="unet, vnet or resnet; unet2d, vnet2d or resnet2d see slice by slice"
    )
    parser.add_argument(
        "--randomise",
        type=float,
        metavar="STRENGTH",
        help="domain randomisation of the patches, 0 (off) to 1",
    )
    parser.add_argument("--precision", help="auto, 32-true, bf16-mixed or 16-mixed")


def add_cohort(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cohort",
        type=Path,
        help="cohort folder (images/, labels/, split.json), or the left-atrium folder",
    )
    parser.add_argument("--spacing", type=float, help="resample every scan to this voxel size, mm")
    parser.add_argument(
        "--test-list",
        type=Path,
        metavar="FOLDER",
        help="the left atrium's own test scans, with their test.list",
    )
    parser.add_argument(
        "--bone", action="store_true", help="the binary task of the paper: bone against rest"
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="local processes (default: as many as suit the machine; 0: stay in this one)",
    )
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help=(
            "scheduler of a running Dask cluster instead, e.g. tcp://node1:8786 (see"
            " docs/clusters.md)"
        ),
    )


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="ssltut", description="Learn and use semi-supervised 3D segmentation.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int], words: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(run.__name__, help=words, description=words)
        sub.add_argument("--json", action="store_true", help="answer in JSON")
        sub.set_defaults(run_command=run)
        return sub

    add_data_commands(command)
    p = command(train, "train a method on a cohort; a killed run is continued by the same command")
    add_cohort(p)
    p.add_argument("--method", default="embedding_matching")
    p.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the method, e.g. kernel=max_cosine",
    )
    p.add_argument("--labelled", type=int, help="use the first N labelled scans of the split")
    p.add_argument(
        "--init", type=Path, help="start student and teacher from the weights of this run"
    )
    p.add_argument("--seed", type=int)
    p.add_argument("--out", type=Path, required=True)
    add_training(p)
    p = command(
        recipe,
        "train a model for real scans from nothing; hip: hip bone and femur in CT, from synthetic"
        " pelves alone",
    )
    p.add_argument("name", choices=["hip"])
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--profile", default="class", help="smoke (a test) or class (default)")
    p.add_argument("--seed", type=int, default=0)
    p = command(
        predict, "segment NIfTI scans with a trained run; predictions lie on the grid of their scan"
    )
    p.add_argument("run", type=Path)
    p.add_argument("scans", nargs="+", type=Path, help="scans, or folders of scans")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument(
        "--min-component",
        type=float,
        default=0.0,
        metavar="SHARE",
        help=(
            "leave out pieces smaller than this share of the largest of their class (0.2 suits left"
            " and right hips; default: 0, none)"
        ),
    )
    add_workers(p)
    p = command(evaluate, "score a trained run on a part of a cohort")
    p.add_argument("run", type=Path)
    add_cohort(p)
    p.add_argument("--part", choices=["validation", "test"], default="validation")
    p.add_argument(
        "--largest-component",
        action="store_true",
        help="score the largest piece of every class alone",
    )
    p.add_argument("--csv", type=Path)
    p = command(
        compare,
        "methods x budgets x seeds on one cohort, with intervals and paired tests; resumable",
    )
    add_cohort(p)
    p.add_argument(
        "--methods",
        nargs="+",
        default=[
            "labels_only",
            "mean_teacher",
            "ua_mt",
            "embedding_matching",
            "neighbour_vote",
            "all_labels",
        ],
    )
    p.add_argument("--budgets", nargs="+", type=int, default=[4])
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument(
        "--published-split",
        action="store_true",
        help="label the first scans of the split for every seed instead of a draw",
    )
    p.add_argument(
        "--largest-component",
        action="store_true",
        help="score the largest piece of every class alone; the rows say so",
    )
    p.add_argument(
        "--metric", default="dice", help="of the printed tables (default: dice); the CSV holds all"
    )
    p.add_argument(
        "--baseline",
        default="labels_only",
        help="the method that the others are tested against (default: labels_only)",
    )
    p.add_argument("--out", type=Path, required=True)
    add_workers(p)
    add_training(p)
    command(methods, "list the methods")
    command(doctor, "versions, hardware, chosen precision and frontend")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    try:
        return args.run_command(args)
    except SsltutError as error:
        print(f"ssltut {args.command}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        found = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error
        print(
            f"ssltut {args.command}: {found}. Next: check the path, its permissions and the free"
            " space",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
