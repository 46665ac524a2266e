"""Scans in files, segmented by a trained run."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ssltut.errors import ConfigError, DataError, SsltutError
from ssltut.parallel import n_workers, open_workers
from ssltut.progress import progress_bar
from ssltut.training.run import Run


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
    what was wrong, by scan: one bad scan does not stop the others. Raises ConfigError, before
    anything is predicted, for a target that exists or is that of two scans, and for a
    ``min_component`` that is no share.
    """
    if not 0.0 <= min_component <= 1.0:
        fix = "give a share of the largest component, from 0 to 1"
        raise ConfigError(f"min_component is {min_component}", fix=fix)
    places: set[Path] = set()
    for target in map(Path.absolute, targets.values()):
        if target.exists() or target in places:
            fix = "choose another --out; nothing was overwritten"
            raise ConfigError("the prediction exists already", where=target, fix=fix)
        places.add(target)
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
