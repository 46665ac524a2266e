"""Metrics with a status: a miss is scored, never dropped. Distances in mm; spacing has no default.

dice, iou     overlap, 0 to 1
hd95, assd    95th percentile of the Hausdorff distance and average symmetric surface distance, mm
surface_dice  share of both surfaces within 2 mm of each other, 0 to 1
"""

import math
from typing import Any

import numpy as np

from ssltut.errors import ConfigError, DataError

METRICS = ("dice", "iou", "hd95", "assd", "surface_dice")
HIGHER_IS_BETTER = {"dice": True, "iou": True, "hd95": False, "assd": False, "surface_dice": True}
TOLERANCE_MM = 2.0
VoxelSize = tuple[float, float, float]  # mm


def diagonal_mm(shape: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    """Between the outermost voxel centres of an image: no two surfaces are farther apart."""
    return math.sqrt(sum(((n - 1) * s) ** 2 for n, s in zip(shape, spacing, strict=True)))


def status_of(prediction: np.ndarray, truth: np.ndarray) -> str:
    """Empty masks: "ok" (none), "both_empty", "missed" (prediction) or "invented" (truth)."""
    if prediction.any():
        return "ok" if truth.any() else "invented"
    return "missed" if truth.any() else "both_empty"


def score_mask(
    prediction: np.ndarray, truth: np.ndarray, spacing: VoxelSize
) -> tuple[str, dict[str, float]]:
    """Status and all metrics of one class, boolean masks (X, Y, Z).

    both_empty: every value is NaN, to be counted but not averaged. missed, invented: overlap 0,
    distances the image diagonal. Raises DataError for masks of different shape, ConfigError for a
    spacing that is not three positive numbers.
    """
    if prediction.shape != truth.shape:
        what = f"the prediction has shape {prediction.shape}, the reference {truth.shape}"
        raise DataError(what, fix="compare them on the same grid")
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise ConfigError(f"the spacing is {spacing}", fix="give three positive numbers in mm")
    status = status_of(prediction, truth)
    if status == "both_empty":
        return status, dict.fromkeys(METRICS, float("nan"))
    both, either = float((prediction & truth).sum()), float((prediction | truth).sum())
    values = {"dice": 2.0 * both / (both + either), "iou": both / either}
    if status != "ok":
        worst = diagonal_mm(truth.shape, spacing)
        return status, values | {"hd95": worst, "assd": worst, "surface_dice": 0.0}
    return status, values | surface_metrics(prediction, truth, spacing)


def surface_metrics(
    prediction: np.ndarray, truth: np.ndarray, spacing: VoxelSize
) -> dict[str, float]:
    """HD95, ASSD (mm) and surface Dice of two non-empty boolean masks (X, Y, Z).

    As MONAI defines them: HD95 is the larger of the two directions' percentiles.
    """
    either = prediction | truth
    spans = (np.flatnonzero(either.any(others)) for others in ((1, 2), (0, 2), (0, 1)))
    box = tuple(slice(where[0], where[-1] + 1) for where in spans)
    p, t = surface(prediction[box]), surface(truth[box])
    there, back = surface_distances(p, t, spacing), surface_distances(t, p, spacing)
    both = np.concatenate([there, back])
    return {
        "hd95": float(max(np.percentile(there, 95), np.percentile(back, 95))),
        "assd": float(both.mean()),
        "surface_dice": float((both <= TOLERANCE_MM).mean()),
    }


def surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask (X, Y, Z) with a face that is not shared with another of its voxels."""
    inside = mask.copy()
    for axis in range(mask.ndim):
        along, whole = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        along[1:] &= whole[:-1]
        along[:-1] &= whole[1:]
        along[0] = along[-1] = False
    return mask & ~inside


def surface_distances(start: np.ndarray, end: np.ndarray, spacing: VoxelSize) -> np.ndarray:
    """mm from every voxel of a surface (X, Y, Z) to the nearest of another; 0 where they share one.

    Only voxels that are not shared are looked up, in a tree of the other surface. Rounded to
    float32, so that 2 mm is 2 mm whatever the spacing it is made of.
    """
    from scipy.spatial import KDTree

    apart = np.argwhere(start & ~end)
    distance = np.zeros(np.count_nonzero(start))
    if len(apart):
        tree = KDTree(np.argwhere(end) * np.array(spacing), leafsize=32, balanced_tree=False)
        distance[: len(apart)] = tree.query(apart * np.array(spacing))[0].astype(np.float32)
    return distance


def score_case(
    prediction: np.ndarray, truth: np.ndarray, spacing: VoxelSize, names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Rows of class, metric, value and status; ``names`` of the classes, background first."""
    rows = []
    for value, name in enumerate(names[1:], start=1):
        status, scores = score_mask(prediction == value, truth == value, spacing)
        for metric, score in scores.items():
            rows.append({"class": name, "metric": metric, "value": score, "status": status})
    return rows


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a random positive has a higher ``score`` than a random negative.

    Ties count one half (Mann and Whitney 1947). score any shape, positive boolean of that shape.
    NaN when there is no positive or no negative.
    """
    from scipy.stats import mannwhitneyu

    score, positive = np.asarray(score, float), np.asarray(positive, bool)
    high, low = score[positive], score[~positive]
    if not high.size or not low.size:
        return float("nan")
    return float(mannwhitneyu(high, low, method="asymptotic").statistic / (high.size * low.size))


def risk_at_coverage(
    uncertainty: np.ndarray, error: np.ndarray, coverage: np.ndarray
) -> np.ndarray:
    """Error rate among the most certain share ``coverage`` (0..1] of the voxels.

    Geifman and El-Yaniv 2017; ``error`` boolean, any shape. Equal uncertainties stay in the order
    of the voxels. With ``error`` itself as the uncertainty this is the oracle's curve.
    """
    order = np.argsort(np.ravel(uncertainty), kind="stable")
    kept = np.maximum(1, np.rint(np.asarray(coverage, float) * order.size).astype(int))
    return np.cumsum(np.ravel(error)[order])[kept - 1] / kept
