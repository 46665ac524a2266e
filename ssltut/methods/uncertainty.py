"""MC-dropout uncertainty: entropies in nats, and thresholds between reliable and unreliable."""

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, pad

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.losses import entropy
from ssltut.methods.schedules import ramp
from ssltut.nets.modes import dropout_on

Classes = Literal["two", "all"]  # over which an entropy is taken: the two most probable, or all

MAX_VOXELS = 2**17  # of all passes in one call: more is slower on a CPU, and memory grows with it


class MCResult(NamedTuple):
    """Probabilities ``mean`` (B, C, X, Y, Z) and two entropies (B, X, Y, Z) in nats."""

    mean: Tensor
    mean_of_entropies: Tensor
    entropy_of_mean: Tensor


def class_entropy(p: Tensor, classes: Classes) -> Tensor:
    """Entropy in nats of ``p`` (B, C, X, Y, Z), as (B, X, Y, Z), over all classes or two.

    The two are the most probable of each voxel, divided by their sum. On a border of two classes,
    p = (1/2, 1/2, 0), it is ln 2 either way: of C > 2 classes it never reaches .75 ln C.
    """
    if classes == "two" and p.shape[1] > 2:
        first, second = p[:, 0], torch.zeros_like(p[:, 0])
        for q in p[:, 1:].unbind(1):  # five times as fast as topk
            second = torch.maximum(second, torch.minimum(first, q))
            first = torch.maximum(first, q)
        p = torch.stack([first, second], 1) / (first + second)[:, None]
    return entropy(p)


@torch.no_grad()
def mc_dropout(net: nn.Module, inputs: Iterable[Tensor], classes: Classes = "all") -> MCResult:
    """One stochastic pass per input (the same scan under fresh noise), MAX_VOXELS in one call.

    The mean of the entropies is Xie et al. 2024's uncertainty, -(1/M) Σ_m Σ_c p_m log p_m; the
    entropy of the mean is UA-MT's (Yu et al. 2019). Over all classes the first is never larger, by
    concavity: it leaves out what the passes disagree about. Raises ConfigError without inputs.
    """
    views = list(inputs)
    if not views:
        raise ConfigError("MC dropout with no pass", fix="use at least one pass")
    at_once = max(1, MAX_VOXELS // views[0].numel())
    total = total_entropy = torch.zeros(())
    with dropout_on(net):
        for start in range(0, len(views), at_once):
            p = net(torch.cat(views[start : start + at_once])).logits.float().softmax(1)
            passes = (-1, len(views[0]))
            total = total + p.unflatten(0, passes).sum(0)
            total_entropy = total_entropy + class_entropy(p, classes).unflatten(0, passes).sum(0)
    mean = total / len(views)
    return MCResult(mean, total_entropy / len(views), class_entropy(mean, classes))


def mc_passes(
    batch: Batch, teacher: nn.Module, passes: int, sigma: float, classes: Classes = "all"
) -> MCResult:
    """``mc_dropout`` over the unlabelled patches, each pass under fresh noise."""
    views = (batch.noise(sigma, "mc", m)(batch.unlabelled) for m in range(passes))
    return mc_dropout(teacher, views, classes)


def published_threshold(frac: float, n_classes: int, classes: Classes = "all") -> float:
    """λ_T = (0.75 + 0.25 ramp(t/T)) ln 2 in nats (Xie et al. 2024); over all classes ln C, ours."""
    return (0.75 + 0.25 * ramp(frac)) * math.log(2 if classes == "two" else n_classes)


def quantile_threshold(uncertainty: Tensor, share: float) -> float:
    """The entropy above which ``share`` of the voxels lies. Raises ConfigError outside (0, 1)."""
    if not 0.0 < share < 1.0:
        fix = "give a share between 0 and 1, or 'published'"
        raise ConfigError(f"the share of unreliable voxels is {share}", fix=fix)
    flat = uncertainty.flatten()
    # torch.quantile refuses more than 2^24 values
    return flat.kthvalue(max(1, math.ceil((1.0 - share) * flat.numel()))).values.item()


def regional_mean(uncertainty: Tensor, side: int) -> Tensor:
    """The mean of each voxel's cube of ``side`` (odd) voxels, as far as it lies in the patch.

    At a border between two classes only a thin layer is uncertain, so its mean stays low; where a
    network has never seen anything like it, whole regions are.
    """
    if side == 1:
        return uncertainty
    # Padded by hand: PyTorch refuses to pool a slice, which is thinner than the cube.
    both = torch.stack([uncertainty, torch.ones_like(uncertainty)], 1)
    total, count = avg_pool3d(pad(both, [side // 2] * 6), side, 1).unbind(1)
    return total / count
