"""The commands that make, check and move data: phantom, verify, ingest, fetch, export."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from ssltut.cli.output import log_of, print_result
from ssltut.errors import ConfigError, SsltutError


def new_folder(path: Path) -> Path:
    if path.exists() and any(path.iterdir()):
        raise ConfigError(
            "the output folder is not empty",
            where=path,
            fix="choose a new one; nothing was overwritten",
        )
    return path


def phantom(args: argparse.Namespace) -> int:
    from ssltut.io.cohort_folder import write_cohort
    from ssltut.synthetic.cohorts import synthetic_cohort

    held_out = args.validation + args.test
    if args.n <= held_out:
        raise ConfigError(
            f"{args.n} scans leave none to train on beside {held_out} held out",
            fix="raise --n or lower --validation and --test",
        )
    new_folder(args.out)
    cohort = synthetic_cohort(
        args.n,
        seed=args.seed,
        size=args.size,
        labelled=min(args.labelled, args.n - held_out),
        validation=args.validation,
        test=args.test,
    )
    write_cohort(cohort, args.out)
    print_result(
        args,
        {"folder": str(args.out), "scans": args.n, "split": cohort.split.hash},
        f"wrote {args.n} synthetic hip CTs to {args.out}",
    )
    return 0


def verify(args: argparse.Namespace) -> int:
    from ssltut.io.verify import verify_paths

    reports = verify_paths(args.paths)
    print_result(
        args, [report.to_dict() for report in reports], "\n".join(str(report) for report in reports)
    )
    return 0 if all(report.ok for report in reports) else 1


def ingest(args: argparse.Namespace) -> int:
    from ssltut.data.labels import label_map
    from ssltut.intake.ingest import IntakeOptions
    from ssltut.intake.ingest import ingest as take_in

    for name in ("spacing", "hips", "assume_spacing"):
        if (value := getattr(args, name)) is not None and not 0 < value < 1e4:
            raise ConfigError(
                f"--{name.replace('_', '-')} {value:g}", fix="give a length in mm above 0"
            )
    labels = label_map(args.labels) if args.labels else None
    if args.label_files:
        if labels is None:
            raise ConfigError(
                "--label-files without --labels", fix="say with --labels what the values mean"
            )
        labels = replace(labels, files=tuple(args.label_files))
    intake = take_in(
        args.folder,
        args.out,
        IntakeOptions(
            labels,
            args.modality,
            args.spacing,
            args.hips,
            args.assume_spacing,
            args.fill,
            args.each_a_patient,
        ),
        key=args.key,
        log=log_of(args),
    )
    for finding in intake.warnings + intake.refused:
        print(
            f"{'refused' if isinstance(finding, SsltutError) else 'note'}: {finding}",
            file=sys.stderr,
        )
    patients = len({row["patient"] for row in intake.rows})
    print_result(
        args,
        {
            "folder": str(args.out),
            "cases": intake.rows,
            "refused": [str(f) for f in intake.refused],
            "warnings": [str(f) for f in intake.warnings],
        },
        f"{len(intake.rows)} cases of {patients} patients in {args.out}, {len(intake.refused)}"
        f" findings kept scans out; look at {args.out / 'reports' / 'index.html'}",
    )
    return 1 if intake.refused else 0


def fetch(args: argparse.Namespace) -> int:
    from ssltut.io.public import SETS, fetch_set

    if args.name is None:
        print_result(
            args, [asdict(about) for about in SETS.values()], "\n".join(map(str, SETS.values()))
        )
        return 0
    if args.name in SETS:
        log_of(args)(str(SETS[args.name]))
    folder = fetch_set(
        args.name, args.out, args.mirror, accept=args.accept_licence, log=log_of(args)
    )
    hint = (
        f"\nnext: ssltut ingest {folder} {SETS[args.name].ingest} --out COHORT"
        if SETS[args.name].ingest
        else ""
    )
    print_result(args, {"folder": str(folder)}, f"{args.name} is in {folder}{hint}")
    return 0


def export(args: argparse.Namespace) -> int:
    from ssltut.intake.ingest import export as put_back

    written = put_back(args.cohort, args.predictions, args.out)
    print_result(
        args, [str(path) for path in written], "\n".join(f"wrote {path}" for path in written)
    )
    return 0


def add_data_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """phantom, verify, ingest, fetch and export."""
    p = command(phantom, "write a cohort of synthetic hip CTs as NIfTI with split.json")
    p.add_argument("--n", type=int, default=28)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument(
        "--size", type=int, default=64, help="voxels a side, over a field of view of 160 mm"
    )
    p.add_argument("--labelled", type=int, default=4)
    p.add_argument("--validation", type=int, default=2)
    p.add_argument("--test", type=int, default=10)
    p = command(verify, "check scans, labels or a cohort folder; exit code 1 when there are errors")
    p.add_argument("paths", nargs="+", type=Path)
    p = command(
        ingest,
        "make a cohort of a folder of NIfTI files or DICOM series; exit code 1 when some scans were"
        " refused",
    )
    p.add_argument("folder", type=Path)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument(
        "--labels",
        metavar="NAME|FILE.yaml",
        help="what the label values mean: hip, totalsegmentator, ctpelvic1k or a YAML file",
    )
    p.add_argument(
        "--label-files",
        nargs="+",
        metavar="GLOB",
        help="where a scan's label lies, relative to its folder; {name} is the scan's name",
    )
    p.add_argument("--spacing", type=float, help="resample to this voxel size, mm")
    p.add_argument(
        "--hips",
        type=float,
        nargs="?",
        const=160.0,
        metavar="MM",
        help="cut out left and right hip, in cubes of 160 mm or this side",
    )
    p.add_argument("--modality", default="CT", help="DICOM modality to take (default CT)")
    p.add_argument(
        "--assume-spacing",
        type=float,
        metavar="MM",
        help="voxel size of NIfTI files that have none",
    )
    p.add_argument("--fill", type=float, metavar="HU", help="value for NaN and infinite voxels")
    p.add_argument(
        "--each-a-patient",
        action="store_true",
        help="NIfTI files in one sub-folder are different patients",
    )
    p.add_argument(
        "--key",
        type=Path,
        metavar="FILE.csv",
        help="write which case came from which file; names may identify patients: keep it private",
    )
    p = command(fetch, "fetch a public data set and check it; without NAME, list what there is")
    p.add_argument("name", nargs="?")
    p.add_argument("--out", type=Path, help="where to put it (default: the cache)")
    p.add_argument(
        "--mirror", type=Path, help="a folder that already holds the files: nothing is downloaded"
    )
    p.add_argument(
        "--accept-licence", action="store_true", help="I have read the licence and keep to it"
    )
    p = command(
        export,
        "put predictions for an ingested cohort back onto the grids of the original files, as"
        " NIfTI",
    )
    p.add_argument("cohort", type=Path)
    p.add_argument("predictions", nargs="+", type=Path)
    p.add_argument("--out", type=Path, required=True)
