"""The commands that make, check and move data: synthetic, verify, ingest, fetch, export."""

import argparse
from dataclasses import asdict, replace

from ssltut.cli.output import Add, Answer, log, path_at, picked
from ssltut.data import MODALITIES
from ssltut.errors import ConfigError, SsltutError
from ssltut.text import plain


def synthetic(args: argparse.Namespace) -> Answer:
    """Write a cohort of synthetic hip CTs as NIfTI with split.json."""
    from ssltut.io.cohort_folder import write_cohort
    from ssltut.synthetic.cohorts import synthetic_cohort

    held_out = args.validation + args.test
    if args.n <= held_out:
        what = f"{args.n} scans are too few: validation and test take {held_out} of them"
        raise ConfigError(what, fix="raise --n or lower --validation and --test")
    options = picked(args, "seed", "size", "validation", "test")
    cohort = synthetic_cohort(args.n, labelled=min(args.labelled, args.n - held_out), **options)
    write_cohort(cohort, args.out)
    values = {"folder": str(args.out), "scans": args.n, "split": cohort.split.hash}
    return values, f"wrote {args.n} synthetic hip CTs to {args.out}", 0


def synthetic_arguments(add: Add) -> None:
    add("--n", type=int, default=28, help="how many scans (default 28)")
    add("--out", type=path_at, required=True, help="folder of the new cohort")
    add("--seed", type=int, default=0, help="another seed makes other patients (default 0)")
    add("--size", type=int, default=64, help="voxels along each side of 160 mm (default 64)")
    add("--labelled", type=int, default=4, help="training scans with a label (default 4)")
    add("--validation", type=int, default=2, help="scans for validation (default 2)")
    add("--test", type=int, default=10, help="scans for the test (default 10)")


def verify(args: argparse.Namespace) -> Answer:
    """Check scans, labels or a cohort folder; exit code 1 when there are errors."""
    from ssltut.io.verify import verify_paths

    reports = verify_paths(args.paths)
    wrong = not all(report.ok for report in reports)
    return [report.to_dict() for report in reports], "\n".join(map(str, reports)), int(wrong)


def verify_arguments(add: Add) -> None:
    add("paths", nargs="+", type=path_at, help="scans, labels or cohort folders")


def ingest(args: argparse.Namespace) -> Answer:
    """Turn a folder of NIfTI or DICOM files into a cohort; exit code 1 when some were refused."""
    from ssltut.data.labels import label_map
    from ssltut.intake.ingest import IntakeOptions
    from ssltut.intake.ingest import ingest as make_cohort

    for name, length in picked(args, "spacing", "hips", "assume_spacing").items():
        if length is not None and not 0 < length < 1e4:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} {length:g}", fix="give a length in mm above 0")
    labels = label_map(args.labels) if args.labels else None
    if args.label_files:
        if labels is None:
            fix = "say with --labels what the values mean"
            raise ConfigError("--label-files without --labels", fix=fix)
        labels = replace(labels, files=tuple(args.label_files))
    names = ("modality", "spacing", "hips", "assume_spacing", "fill", "each_a_patient", "channel")
    options = IntakeOptions(labels, **picked(args, *names))
    intake = make_cohort(args.folder, args.out, options, key=args.key, log=log)
    for finding in intake.warnings + intake.errors:
        log(f"{'refused' if isinstance(finding, SsltutError) else 'note'}: {finding}")
    patients = len({row["patient"] for row in intake.rows})
    values = {
        "folder": str(args.out),
        "cases": intake.rows,
        "refused": [str(finding) for finding in intake.errors],
        "warnings": [str(finding) for finding in intake.warnings],
    }
    text = f"{len(intake.rows)} cases of {patients} patients in {args.out}, {len(intake.errors)}"
    text += f" findings; their scans were left out: see {args.out / 'reports' / 'index.html'}"
    return values, text, int(bool(intake.errors))


def ingest_arguments(add: Add) -> None:
    add("folder", type=path_at, help="folder with NIfTI or DICOM files")
    add("--out", type=path_at, required=True, help="folder of the new cohort")
    words = "what the label values mean: hip, totalsegmentator, ctpelvic1k or a YAML file"
    add("--labels", metavar="NAME|FILE.yaml", help=words)
    words = "where the label of a scan is, from the folder of the scan; {name} stands for its name"
    add("--label-files", nargs="+", metavar="GLOB", help=words)
    add("--spacing", type=float, help="resample to this voxel size, mm")
    words = "cut out the left and the right hip as cubes with this side (default 160 mm)"
    add("--hips", type=float, nargs="?", const=160.0, metavar="MM", help=words)
    words = "DICOM modality to read (default CT)"
    add("--modality", default="CT", choices=MODALITIES[:-1], help=words)
    words = "channel of each scan to read, its number or its name (default: --modality, else 0000)"
    add("--channel", metavar="NAME", help=words)
    add("--assume-spacing", type=float, metavar="MM", help="voxel size of NIfTI files without one")
    add("--fill", type=float, metavar="HU", help="value to put in place of NaN and infinite voxels")
    words = "treat every NIfTI file, and every DICOM study, as another patient"
    add("--each-a-patient", action="store_true", help=words)
    words = "write a list of which case came from which file; it may identify patients:"
    words += " keep it private"
    add("--key", type=path_at, metavar="FILE.csv", help=words)


def fetch(args: argparse.Namespace) -> Answer:
    """Fetch a public data set and check it; without NAME, list what there is."""
    from ssltut.io.public import SETS, fetch_set

    if args.name is None:
        known = list(SETS.values())
        return list(map(asdict, known)), "\n".join(map(str, known)), 0
    if args.name in SETS:
        for line in str(SETS[args.name]).splitlines():
            log(line)
    folder = fetch_set(args.name, args.out, args.mirror, accept=args.accept_licence, log=log)
    text = f"{args.name} is in {folder}"
    if SETS[args.name].ingest:
        text += f"\nnext: ssltut ingest {folder} {SETS[args.name].ingest} --out COHORT"
    return {"folder": str(folder)}, text, 0


def fetch_arguments(add: Add) -> None:
    add("name", nargs="?", help="name of the data set")
    add("--out", type=path_at, help="where to put it (default: the cache)")
    words = "folder that already has the files; then nothing is downloaded"
    add("--mirror", type=path_at, help=words)
    words = "confirm that you have read the licence and accept it"
    add("--accept-licence", action="store_true", help=words)


def export(args: argparse.Namespace) -> Answer:
    """Put predictions for an ingested cohort back onto the grids of the original files."""
    from ssltut.intake.ingest import export as put_back

    written = put_back(args.cohort, args.predictions, args.out)
    text = "\n".join(f"wrote {plain(path)}" for path in written)
    return list(map(str, written)), text, 0


def export_arguments(add: Add) -> None:
    add("cohort", type=path_at, help="cohort folder that ssltut ingest made")
    add("predictions", nargs="+", type=path_at, help="predictions, or folders of predictions")
    add("--out", type=path_at, required=True, help="folder to write to")
