"""HD95, ASSD and surface Dice of two foreground classes, against MONAI and surface-distance."""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from turns import Row, in_turns, peer

from ssltut.metrics import surface_metrics

SPACING = (0.8, 0.8, 1.5)
Pair = tuple[np.ndarray, np.ndarray]


def scene(size: int) -> list[Pair]:
    """Prediction and truth of two classes: rough balls that differ by about a voxel."""
    rng = np.random.default_rng(0)
    axis = (np.arange(size) - size / 2) / size
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    noise = gaussian_filter(rng.standard_normal((size,) * 3), 3)
    noise *= 0.01 / noise.std()
    pairs = []
    for centre, radius in (((0.1, 0.1, 0.1), 0.3), ((-0.2, -0.2, -0.2), 0.2)):
        a, b, c = centre
        distance = np.sqrt((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2)
        pairs.append((distance + noise < radius, distance + np.roll(noise, 7) < radius))
    return pairs


def by_monai(pairs: list[Pair]) -> list[dict[str, float]]:
    """Its three functions, in the box of both masks."""
    from monai import metrics

    found = []
    for pair in pairs:
        where = np.nonzero(pair[0] | pair[1])
        box = tuple(slice(max(0, w.min() - 1), w.max() + 2) for w in where)
        p, t = (torch.from_numpy(m[box].copy())[None, None].float() for m in pair)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            hd = metrics.compute_hausdorff_distance(p, t, True, percentile=95, spacing=SPACING)
            mean = metrics.compute_average_surface_distance(
                p, t, True, symmetric=True, spacing=SPACING
            )
            dice = metrics.compute_surface_dice(p, t, [2.0], True, spacing=SPACING)
        found.append({"hd95": float(hd), "assd": float(mean), "surface_dice": float(dice)})
    return found


def by_surface_distance(pairs: list[Pair]) -> object:
    import surface_distance as sd

    for a, b in pairs:
        found = sd.compute_surface_distances(b, a, SPACING)
        sd.compute_robust_hausdorff(found, 95)
        sd.compute_average_surface_distance(found)
        sd.compute_surface_dice_at_tolerance(found, 2.0)
    return pairs


def rows() -> list[Row]:
    found = []
    for size, rounds in ((32, 9), (128, 5), (192, 3)):
        pairs = scene(size)
        contestants: dict[str, Callable[[], object]] = {
            "ours": lambda pairs=pairs: [surface_metrics(*pair, SPACING) for pair in pairs]
        }
        notes, skipped = {}, []
        if peer("monai"):
            contestants["MONAI, in the box of both"] = lambda pairs=pairs: by_monai(pairs)
            both = zip(contestants["ours"](), by_monai(pairs), strict=True)
            apart = max(abs(a[name] - b[name]) for a, b in both for name in a)
            notes["largest difference from MONAI"] = f"{apart:.1e}"
        else:
            skipped.append("monai")
        if peer("surface_distance"):
            contestants["surface-distance"] = lambda pairs=pairs: by_surface_distance(pairs)
        else:
            skipped.append("surface-distance")
        what = f"HD95, ASSD, surface Dice of two classes, {size}³"
        timings = in_turns(contestants, rounds)
        found.append(Row(what, "0.15 of MONAI", timings, skipped, notes))
    return found
