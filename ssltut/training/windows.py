"""Sliding-window prediction of whole scans, the same for validation, test and users' own."""

import itertools
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
A_CALL = 4  # windows that go through the network together
SIGMA = 0.125  # of the Gaussian weights, as a share of the window's side
LEAST_WEIGHT = 1e-3


@torch.no_grad()
def sliding_window(
    forward: Callable[[Tensor], Tensor],
    image: np.ndarray,
    patch: tuple[int, int, int],
    device: torch.device,
    *,
    keep: Callable[[Tensor], Tensor] = Tensor.clone,
    progress: bool = False,
) -> Tensor:
    """``forward`` on Gaussian-weighted windows of ``image`` (X, Y, Z), normalised.

    Returns (C, X, Y, Z) float32 on the CPU, or what ``keep`` makes of it: that is given the means
    (C, n, Y, Z) of a few layers as soon as no other window reaches them, and only these are in
    memory. Windows, weights and sums are those of MONAI's sliding_window_inference. A scan smaller
    than the patch is padded with its least value, as in training (ssltut.data.patches.PatchPool).
    """
    missing = [max(0, p - side) for p, side in zip(patch, image.shape, strict=True)]
    pad = [(m // 2, m - m // 2) for m in missing]
    padded = np.pad(image, pad, constant_values=image.min()) if any(missing) else image
    x = torch.from_numpy(np.ascontiguousarray(padded))
    inside = tuple(
        slice(m // 2, m // 2 + side) for m, side in zip(missing, image.shape, strict=True)
    )
    places = list(itertools.product(*window_starts(x.shape, patch)))
    weight = window_weights(patch)
    on_device = weight.to(device)
    sums = weights = kept = torch.empty(0)
    top = 0  # the layer that the sums begin with

    def finish(n: int) -> None:
        """Keep the first ``n`` layers of the sums, and move on by as many."""
        nonlocal kept, top
        done = keep((sums[:, :n] / weights[:n])[:, *inside])
        if not len(kept):
            kept = done.new_empty(*done.shape[:-3], *image.shape)
        kept[..., top : top + done.shape[-3], :, :] = done
        for layers in (sums.movedim(1, 0), weights):
            layers[:-n] = layers[n:].clone()
            layers[-n:] = 0.0
        top += n

    with progress_bar(total=len(places), unit="window", show=progress, leave=False) as bar:
        for first in range(0, len(places), A_CALL):
            some = places[first : first + A_CALL]
            boxes = [tuple(slice(c, c + p) for c, p in zip(at, patch, strict=True)) for at in some]
            found = forward(torch.stack([x[box] for box in boxes])[:, None].to(device))
            bar.update(len(some))
            if not len(sums):
                sums = torch.zeros(found.shape[1], patch[0], *x.shape[1:])
                weights = torch.zeros(sums.shape[1:])
            for box, values in zip(boxes, (found * on_device).cpu(), strict=True):
                if box[0].start > top:
                    finish(box[0].start - top)
                sums[:, :, *box[1:]] += values
                weights[:, *box[1:]] += weight
    finish(patch[0])
    return kept


def window_starts(shape: Sequence[int], patch: Sequence[int]) -> list[list[int]]:
    """Where windows that cover a scan begin, along each axis; the last ends where the scan does."""
    starts = []
    for size, side in zip(shape, patch, strict=True):
        step, room = max(1, int(side * (1 - OVERLAP))), max(0, size - side)
        starts.append([min(k * step, room) for k in range(1 + ceil(room / step))])
    return starts


def window_weights(patch: Sequence[int]) -> Tensor:
    """Gaussian weights of the voxels of a window: those at its border are less sure."""
    weight = torch.ones(())
    for side in patch:
        middle = (side - 1) / 2
        at = torch.arange(-middle, middle + 1)
        weight = weight[..., None] * torch.exp(at**2 / (-2 * (SIGMA * side) ** 2))
    return weight.clamp(min=max(weight.min().item(), LEAST_WEIGHT))


def n_windows(shape: Sequence[int], patch: Sequence[int]) -> int:
    """How many windows cover a scan."""
    return prod(map(len, window_starts(shape, patch)))


def most_probable(p: Tensor) -> Tensor:
    """The class (X, Y, Z) uint8 of probabilities (C, X, Y, Z), the first of equals.

    ``max`` finds it several times faster than ``argmax``.
    """
    return p.max(0).indices.to(torch.uint8)


def predict_probabilities(
    method: Method,
    nets: Nets,
    case: Case,
    intensity: Intensity,
    patch: tuple[int, int, int],
    *,
    keep: Callable[[Tensor], Tensor] = Tensor.clone,
    progress: bool = False,
) -> Tensor:
    """Class probabilities (C, X, Y, Z) of one scan, or what ``keep`` makes of them.

    Networks are put in eval mode and back.
    """
    image = intensity.normalise(case.image)
    device = next(next(iter(nets.values())).parameters()).device
    predict = partial(method.predict, nets)
    with ExitStack() as modes:
        for net in nets.values():
            modes.enter_context(eval_mode(net))
        return sliding_window(predict, image, patch, device, keep=keep, progress=progress)


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
        label = predict_probabilities(
            method, nets, case, intensity, config.patch, keep=most_probable
        )
        rows += score_case(label.numpy(), case.label, case.spacing, table.names)
    frame = pd.DataFrame(rows, columns=["class", "metric", "value", "status"])
    of_metric = {name: frame.loc[frame.metric == name, "value"] for name in ("dice", "hd95")}
    return {name: float(values.mean()) for name, values in of_metric.items()}
