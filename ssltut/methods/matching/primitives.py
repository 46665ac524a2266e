"""Reference voxels near labelled surfaces, similarity kernels, exact nearest neighbours.

Shapes: N query voxels, D embedding channels, C classes, l redraws of k references a class.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ssltut.data.batch import PatchLocation
from ssltut.errors import ConfigError
from ssltut.nets.precision import full_precision

Kernel = Literal["mean_cosine", "max_cosine", "mean_euclid", "max_euclid"]
KERNELS: tuple[str, ...] = get_args(Kernel)
# Similarities that are worked on at a time: what a processor's cache holds, what keeps a GPU busy.
AT_ONCE = {"cpu": 2**20, "gpu": 2**24}
BLOCK = 16
PLACE_WIDTH = 6  # of a place vector: cosine and sine of three axes


class References(NamedTuple):
    """Reference voxels of every class."""

    voxels: Tensor  # (C, l, k) int64 positions in the flattened label; 0 for an absent class
    present: Tensor  # (C,) bool, False where the labels hold no such voxel


def surface_shell(label: Tensor, band: int = 1) -> Tensor:
    """True where a voxel of another class lies within ``band`` voxels (26-neighbourhood).

    label (B, X, Y, Z) -> bool (B, X, Y, Z). Raises ConfigError for a band below 1.

    For a binary label this is the paper's object surface, seen from inside (class 1) and from
    outside (class 0). With more classes every voxel keeps its own class, so the head-socket contact
    is learned as bone against bone (our extension).
    """
    if band < 1:
        raise ConfigError(f"the surface band is {band} voxels", fix="use at least 1")
    value = label[:, None].float()
    size = 2 * band + 1
    highest = F.max_pool3d(value, size, stride=1, padding=band)
    lowest = -F.max_pool3d(-value, size, stride=1, padding=band)
    return (highest != lowest)[:, 0]


def draw_references(
    label: Tensor, region: Tensor, n_classes: int, *, k: int, redraws: int, generator: Generator
) -> References:
    """Draw ``redraws`` times ``k`` reference voxels of every class inside ``region``.

    label int64, region bool, both (B, X, Y, Z). Voxels are drawn without replacement while there
    are enough, with replacement otherwise.
    """
    voxels = torch.zeros(n_classes, redraws, k, dtype=torch.int64, device=label.device)
    present = torch.zeros(n_classes, dtype=torch.bool, device=label.device)
    flat_label, flat_region = label.flatten(), region.flatten()
    for c in range(n_classes):
        candidates = torch.nonzero((flat_label == c) & flat_region)[:, 0]
        if len(candidates) == 0:
            continue
        n, wanted = len(candidates), redraws * k
        if n >= wanted:
            order = torch.randperm(n, generator=generator, device=label.device)[:wanted]
        else:
            order = torch.randint(n, (wanted,), generator=generator, device=label.device)
        voxels[c] = candidates[order].view(redraws, k)
        present[c] = True
    return References(voxels, present)


def balanced(labels: Tensor, n_classes: int, limit: int, generator: Generator) -> Tensor:
    """Positions in ``labels`` (R,): all of a class, or ``limit`` drawn from it."""
    chosen = []
    for c in range(n_classes):
        own = (labels == c).nonzero()[:, 0]
        order = torch.randperm(len(own), generator=generator, device=own.device)
        chosen.append(own[order[:limit]])
    return torch.cat(chosen)


def voxel_vectors(features: Tensor) -> Tensor:
    """Map (B, D, X, Y, Z) to float32 vectors (B * X * Y * Z, D), as a label is flattened."""
    return features.float().movedim(1, -1).flatten(0, -2)


def place_vectors(
    places: Sequence[PatchLocation], shape: Sequence[int], device: torch.device | str = "cpu"
) -> Tensor:
    """Where in its scan every voxel of patches (B, *shape) lies, (B * X * Y * Z, 6).

    Vectors of length 1, in the order of a flattened label. An angle of half a turn runs along each
    axis of the scan, and its cosine and sine are kept: the product of two vectors is
    1/3 Σ cos(π Δ), Δ their distance along each axis as a share of the scan. The first axis runs
    from the outside of the body inwards for left and right alike.
    """
    parts = []
    for place in places:
        axes = []
        along = zip(place.centre, place.extent, shape, strict=True)
        for axis, (centre, extent, n) in enumerate(along):
            at = centre + extent * ((torch.arange(n, device=device) + 0.5) / n - 0.5)
            axes.append(torch.pi * (1.0 - at if axis == 0 and place.side == "right" else at))
        angle = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        parts.append(torch.cat([angle.cos(), angle.sin()], dim=-1).flatten(0, -2) / 3**0.5)
    return torch.cat(parts)


@full_precision
def similarity(references: Tensor, query: Tensor, kernel: str = "mean_cosine") -> Tensor:
    """K(f_ref, f)(v) of Xie et al. 2024, averaged over the l redraws.

    references (C, l, k, D), query (N, D) -> (C, N). Euclidean kernels are 1 / (1 + |p - q|^2). Mean
    cosine (published) collapses to one prototype a class, the mean of the unit references: a linear
    rule. Only the max kernels are neighbour rules. Raises ConfigError for another kernel.
    """
    if kernel not in KERNELS:
        fix = f"use one of {', '.join(KERNELS)}"
        raise ConfigError(f"there is no similarity kernel {kernel!r}", fix=fix)
    n_classes, redraws, k, d = references.shape
    if kernel == "mean_cosine":
        prototypes = F.normalize(references, dim=-1).mean((1, 2))
        return prototypes @ F.normalize(query, dim=-1).T
    flat = references.reshape(-1, d)
    if kernel.endswith("cosine"):
        pairs = F.normalize(flat, dim=-1) @ F.normalize(query, dim=-1).T
    else:
        lengths = flat.square().sum(1, keepdim=True) + query.square().sum(1)[None]
        squared = lengths - 2.0 * flat @ query.T
        pairs = 1.0 / (1.0 + squared.clamp(min=0.0))
    pairs = pairs.view(n_classes, redraws, k, -1)
    per_draw = pairs.mean(2) if kernel.startswith("mean") else pairs.amax(2)
    return per_draw.mean(1)


@torch.no_grad()
@full_precision
def nearest(query: Tensor, references: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The exact ``k`` nearest references by cosine: similarity and index, both (N, k), best first.

    query (N, D), references (R, D). Works through the queries in one buffer, so memory is that of
    AT_ONCE numbers whatever N is. Raises ConfigError when there are fewer references than k.
    """
    if len(references) < k:
        fix = "use fewer neighbours or more references"
        raise ConfigError(f"{k} neighbours of {len(references)} references", fix=fix)
    bank = F.normalize(references, dim=-1).T.contiguous()
    limit = AT_ONCE["cpu" if query.device.type == "cpu" else "gpu"]
    rows = min(len(query), max(1, limit // len(references)))
    scores = bank.new_empty(rows, len(references))
    found = []
    for part in query.tensor_split(max(1, -(-len(query) // max(1, rows)))):
        room = scores[: len(part)]
        found.append(largest(torch.mm(F.normalize(part, dim=-1), bank, out=room), k))
    values, indices = zip(*found, strict=True)
    return torch.cat(values), torch.cat(indices)


def largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``scores.topk(k)`` of rows (N, R), faster where R is large.

    Columns are in blocks of BLOCK, and what remains. The k + 1 largest numbers are in the k + 1
    blocks with the largest maxima, or in what remains. Where two are equal, topk gives the order.
    """
    n = scores.shape[1] // BLOCK  # column c is in block c % n
    if n < 2 * k:
        return scores.topk(k)
    maxima = scores[:, : BLOCK * n].unflatten(1, (BLOCK, n)).amax(1)
    best = maxima.topk(k + 1, sorted=False).indices
    every = torch.arange(scores.shape[1], device=scores.device)
    columns = (best[:, None] + every[: BLOCK * n : n, None]).flatten(1)
    columns = torch.cat([columns, every[BLOCK * n :].expand(len(scores), -1)], dim=1)
    value, place = scores.gather(1, columns).topk(k + 1)
    index = columns.gather(1, place)
    equal = (value[:, 1:] == value[:, :-1]).any(1)
    value, index = value[:, :k], index[:, :k]
    value[equal], index[equal] = scores[equal].topk(k)
    return value, index


def neighbour_vote(
    query: Tensor, references: Tensor, labels: Tensor, n_classes: int, k: int = 9
) -> Tensor:
    """Share (N, C) of the ``k`` references (R, D) nearest to ``query`` (N, D) in each class."""
    _, index = nearest(query, references, k)
    return F.one_hot(labels[index], n_classes).float().mean(1)
