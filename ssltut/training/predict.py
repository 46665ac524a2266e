"""Sliding-window prediction of whole scans, the same for validation, test and users' own."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssltut.data.case import Case
from ssltut.data.patches import Intensity
from ssltut.errors import ConfigError, DataError, SsltutError
from ssltut.parallel import n_workers, open_workers


@torch.no_grad()
def sliding_window(
    forward: Callable[[Tensor], Tensor],
    image: np.ndarray,
    patch: tuple[int, int, int],
    device,
    overlap: float = 0.5,
) -> Tensor:
    """``forward`` on Gaussian-weighted windows of a normalised ``image`` (X, Y, Z) -> (C, X, Y, Z)
    float32 on the CPU (MONAI).

    A scan smaller than the patch is padded with its least value, as in training
    (ssltut.data.patches.PatchPool).
    """
    from monai.inferers import sliding_window_inference

    x = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    out = sliding_window_inference(
        x,
        patch,
        sw_batch_size=4,
        predictor=forward,
        overlap=overlap,
        mode="gaussian",
        padding_mode="constant",
        cval=float(image.min()),
        sw_device=device,
        device="cpu",
        progress=False,
    )
    return out[0].float()


def predict_probabilities(
    method, nets, case: Case, intensity: Intensity, patch: tuple[int, int, int]
) -> Tensor:
    """Class probabilities (C, X, Y, Z) of one scan; networks are put in eval mode and back."""
    modes = {net: net.training for net in nets.values()}
    device = next(net for net in nets.values()).parameters().__next__().device
    for net in modes:
        net.eval()
    try:
        return sliding_window(
            lambda x: method.predict(nets, x), intensity.normalise(case.image), patch, device
        )
    finally:
        for net, mode in modes.items():
            net.train(mode)


def predict_label(
    method, nets, case: Case, intensity: Intensity, patch: tuple[int, int, int]
) -> np.ndarray:
    """The most probable class of every voxel, (X, Y, Z) uint8."""
    return (
        predict_probabilities(method, nets, case, intensity, patch)
        .argmax(0)
        .numpy()
        .astype(np.uint8)
    )


def predict_file(run, scan: Path, target: Path, min_component: float = 0.0) -> SsltutError | None:
    """Write the labels a trained run gives ``scan`` to ``target``, on the grid of the scan; what is
    wrong with it, or None.

    On a GPU where this process has one. A file that a worker wrote before it died is written again.
    """
    from ssltut.io.nifti import read_case, write_like_source

    try:
        for net in run.nets.values():
            net.to("cuda" if torch.cuda.is_available() else "cpu")
        case = read_case(scan)
        write_like_source(run.predict(case, min_component), case, target, overwrite=True)
    except SsltutError as error:
        return error
    except (RuntimeError, MemoryError, OSError) as error:
        return DataError(
            f"{type(error).__name__}: {' '.join(str(error).split())}",
            where=scan,
            fix="see to memory and disk, then predict it alone",
        )


def predict_files(
    run,
    targets: Mapping[Path, Path],
    *,
    min_component: float = 0.0,
    workers: int | None = 0,
    dask: str | None = None,
    log: Callable[[str], None] = print,
) -> dict[Path, SsltutError]:
    """Predict every scan of ``targets`` {scan: file to write}; ``min_component`` as in
    ``Run.predict``, workers and dask as in ``compare``.

    Returns what was wrong, by scan: one bad scan does not stop the others. Raises ConfigError,
    before anything is predicted, for a target that exists or is that of two scans, and for a
    ``min_component`` that is no share.
    """
    if not 0.0 <= min_component <= 1.0:
        raise ConfigError(
            f"a min_component of {min_component}",
            fix="give a share of the largest piece, from 0 to 1",
        )
    scans, jobs = (
        list(targets),
        [(scan.absolute(), target.absolute(), min_component) for scan, target in targets.items()],
    )
    for i, (_, target, _) in enumerate(jobs):
        if target.exists() or target in [other for _, other, _ in jobs[:i]]:
            raise ConfigError(
                "the prediction exists already",
                where=target,
                fix="choose another --out; nothing was overwritten",
            )
    wrong: dict[Path, SsltutError] = {}
    processes = n_workers(workers, len(jobs), cluster=bool(dask))
    with open_workers(processes, dask, log) as run_jobs:
        for done, (i, error) in enumerate(run_jobs(predict_file, run, jobs), start=1):
            if len(jobs) > 1:
                log(f"[{done}/{len(jobs)}] {scans[i].name}: {'failed' if error else 'done'}")
            if error:
                wrong[scans[i]] = error
    return wrong
