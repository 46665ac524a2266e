"""Scans in files, segmented by a trained run."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from ssltut.errors import ConfigError, DataError, SsltutError
from ssltut.files import digest_of, locked, read_json, write_atomically
from ssltut.io.entries import RECORD_OF_PREDICTIONS
from ssltut.parallel import n_workers, open_workers
from ssltut.progress import progress_bar
from ssltut.training.run import Run, read_identity


def predict_file(
    run: Run, scan: Path, target: Path, min_component: float = 0.0, progress: bool = False
) -> SsltutError | None:
    """Write the labels a trained run gives ``scan`` to ``target``, on the grid of the scan.

    Returns what is wrong with the scan, or None. On a GPU where this process has one. A file that
    a worker wrote before it died is written again.
    """
    from ssltut.io.nifti import read_case, write_like_source

    try:
        for net in run.nets.values():
            net.to("cuda" if torch.cuda.is_available() else "cpu")
        case = read_case(scan)
        label = run.predict(case, min_component, progress=progress)
        write_like_source(label, case, target, overwrite=True)
    except SsltutError as error:
        return error
    except (RuntimeError, MemoryError, OSError) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return DataError(what, where=scan, fix="check memory and disk space, then predict it alone")
    return None


def predict_files(
    run: Run,
    targets: Mapping[Path, Path],
    *,
    min_component: float = 0.0,
    workers: int | None = 0,
    dask: str | None = None,
    log: Callable[[str], None] = print,
) -> dict[Path, SsltutError]:
    """Predict every scan of ``targets`` {scan: file to write}.

    ``min_component`` is that of ``Run.predict``, workers and dask those of ``compare``. Returns
    what was wrong, by scan: one bad scan does not stop the others. What the same call has written
    before it was stopped is not done again (``left_to_do``). Raises ConfigError, before anything is
    predicted, for another target that exists or is that of two scans, for a folder that another
    process works in, and for a ``min_component`` that is no share.
    """
    if not 0.0 <= min_component <= 1.0:
        fix = "give a share of the largest component, from 0 to 1"
        raise ConfigError(f"min_component is {min_component}", fix=fix)
    check_names(targets)
    with ExitStack() as locks:
        for folder in sorted({target.absolute().parent for target in targets.values()}):
            locks.enter_context(locked(folder))
        left = left_to_do(run, targets, min_component)
        if n_done := len(targets) - len(left):
            log(f"{n_done} of {len(targets)} were there")
        try:
            wrong = predict_all(run, left, min_component, workers, dask, log)
        except SsltutError:  # no such workers, or the cluster is lost
            forget(target for target in left.values() if not target.exists())
            raise
        forget(targets[scan] for scan in wrong)
    return wrong


def predict_all(
    run: Run,
    targets: Mapping[Path, Path],
    min_component: float,
    workers: int | None,
    dask: str | None,
    log: Callable[[str], None],
) -> dict[Path, SsltutError]:
    """As ``predict_files``, whatever is there."""
    scans = list(targets)
    processes = n_workers(workers, len(scans), cluster=bool(dask))
    alone = not processes and not dask  # workers draw no bars
    paths = [(scan.absolute(), target.absolute()) for scan, target in targets.items()]
    jobs = [(*pair, min_component, alone) for pair in paths]
    wrong: dict[Path, SsltutError] = {}
    with (
        open_workers(processes, dask, log) as run_jobs,
        progress_bar(total=len(jobs), unit="scan", show=len(jobs) > 1) as bar,
    ):
        for done, (i, error) in enumerate(run_jobs(predict_file, run, jobs), start=1):
            bar.update()
            if len(jobs) > 1 and bar.disable:
                log(f"[{done}/{len(jobs)}] {scans[i].name}: {'failed' if error else 'done'}")
            if error:
                wrong[scans[i]] = error
    return wrong


def check_names(targets: Mapping[Path, Path]) -> None:
    """Raises ConfigError where the predictions of two scans would be one file."""
    scans: dict[Path, Path] = {}
    for scan, target in targets.items():
        other = scans.setdefault(target.absolute(), scan)
        if other != scan:
            what = f"the predictions of {other} and {scan} would have the same name"
            fix = "predict them one by one, each with its own --out"
            raise ConfigError(what, where=target, fix=fix)


def left_to_do(run: Run, targets: Mapping[Path, Path], min_component: float) -> dict[Path, Path]:
    """The scans that this very prediction has not been made of, and where to write it.

    predictions.json beside the predictions names scan, weights and options of each, and is written
    before they are: a prediction has its name when it is whole, so what is there is done. Raises
    ConfigError for a file that it does not name, or names as another prediction.
    """
    files = {path.parent / RECORD_OF_PREDICTIONS for path in map(Path.absolute, targets.values())}
    records = {file: read_json(file) if file.exists() else {} for file in files}
    weights = digest_of(run.folder / "best.safetensors")
    made_with = {"run": read_identity(run.folder)["hash"], "weights": weights}
    left = {}
    for scan, target in targets.items():
        record = records[target.absolute().parent / RECORD_OF_PREDICTIONS]
        entry = {**content_of(scan), **made_with, "min_component": min_component}
        known = record.get(target.name)
        same = isinstance(known, dict) and {**known, "scan": ""} == {**entry, "scan": ""}
        if target.exists() and not same:
            fix = "choose another --out; nothing was overwritten"
            raise ConfigError("the prediction exists already", where=target.absolute(), fix=fix)
        if not (target.exists() and is_whole(target)):
            left[scan] = target
        record[target.name] = entry
    for file, record in records.items():
        write_atomically(file, json.dumps(record, indent=1))
    return left


def forget(targets: Iterable[Path]) -> None:
    """Take predictions that could not be made out of predictions.json."""
    for target in targets:
        file = target.parent / RECORD_OF_PREDICTIONS
        record = read_json(file)
        record.pop(target.name)
        if record:
            write_atomically(file, json.dumps(record, indent=1))
        else:
            file.unlink()


def content_of(scan: Path) -> dict[str, Any]:
    """What tells a scan from others: its size and digest. None for one that cannot be read."""
    try:
        return {"scan": str(scan), "bytes": scan.stat().st_size, "digest": digest_of(scan)}
    except (DataError, OSError):  # its prediction will say what is wrong
        return {"scan": str(scan), "bytes": None, "digest": None}


def is_whole(target: Path) -> bool:
    """Whether a prediction can be read to its end."""
    from ssltut.io.formats import read_volume
    from ssltut.io.volume import Findings

    found = Findings()
    return read_volume(target, found.note) is not None and not found.errors
