"""Sliding-window prediction of whole scans, the same for validation, test and users' own."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from math import ceil, prod

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ssltut.data.case import Case
from ssltut.data.labels import LabelTable
from ssltut.data.patches import Intensity
from ssltut.methods.contract import Method, Nets
from ssltut.metrics import score_case
from ssltut.nets.modes import eval_mode
from ssltut.progress import progress_bar
from ssltut.training.config import TrainConfig

OVERLAP = 0.5  # of neighbouring windows


@torch.no_grad()
def sliding_window(
    forward: Callable[[Tensor], Tensor],
    image: np.ndarray,
    patch: tuple[int, int, int],
    device: torch.device,
    *,
    progress: bool = False,
) -> Tensor:
    """``forward`` on Gaussian-weighted windows of ``image`` (X, Y, Z), normalised (MONAI).

    Returns (C, X, Y, Z) float32 on the CPU. A scan smaller than the patch is padded with its least
    value, as in training (ssltut.data.patches.PatchPool).
    """
    from monai.inferers import sliding_window_inference

    x = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    total = n_windows(image.shape, patch)
    with progress_bar(total=total, unit="window", show=progress, leave=False) as bar:

        def counted(windows: Tensor) -> Tensor:
            out = forward(windows)
            bar.update(len(windows))
            return out

        out = sliding_window_inference(
            x,
            patch,
            sw_batch_size=4,
            predictor=counted,
            overlap=OVERLAP,
            mode="gaussian",
            padding_mode="constant",
            cval=float(image.min()),
            sw_device=device,
            device="cpu",
        )
    return out[0].float()


def n_windows(shape: tuple[int, ...], patch: tuple[int, int, int]) -> int:
    """How many windows cover a scan."""
    steps = [max(1, int(side * (1 - OVERLAP))) for side in patch]
    return prod(
        1 + ceil(max(0, size - side) / step)
        for size, side, step in zip(shape, patch, steps, strict=True)
    )


def predict_probabilities(
    method: Method,
    nets: Nets,
    case: Case,
    intensity: Intensity,
    patch: tuple[int, int, int],
    *,
    progress: bool = False,
) -> Tensor:
    """Class probabilities (C, X, Y, Z) of one scan; networks are put in eval mode and back."""
    image = intensity.normalise(case.image)
    device = next(next(iter(nets.values())).parameters()).device
    predict = partial(method.predict, nets)
    with ExitStack() as modes:
        for net in nets.values():
            modes.enter_context(eval_mode(net))
        return sliding_window(predict, image, patch, device, progress=progress)


def validation_scores(
    method: Method,
    nets: Nets,
    cases: Sequence[Case],
    intensity: Intensity,
    config: TrainConfig,
    table: LabelTable,
) -> dict[str, float]:
    """Mean Dice and HD95 (mm) over the foreground classes of the validation scans."""
    rows = []
    for case in cases:
        assert case.label is not None, "validation scans have labels"
        p = predict_probabilities(method, nets, case, intensity, config.patch)
        label = p.argmax(0).numpy().astype(np.uint8)
        rows += score_case(label, case.label, case.spacing, table.names)
    frame = pd.DataFrame(rows, columns=["class", "metric", "value", "status"])
    of_metric = {name: frame.loc[frame.metric == name, "value"] for name in ("dice", "hd95")}
    return {name: float(values.mean()) for name, values in of_metric.items()}
