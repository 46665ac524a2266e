"""Metrics on analytic solids, anisotropic spacing, and what happens when a mask is empty."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ssltut.errors import ConfigError, DataError
from ssltut.metrics import (
    METRICS,
    auroc,
    diagonal_mm,
    risk_at_coverage,
    score_case,
    score_mask,
    surface_metrics,
)

SPACING = (0.5, 1.0, 3.0)


def box(lo, hi, shape=(24, 24, 24)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(lo, hi, strict=False))] = True
    return mask


def ball(radius_mm, spacing, shape):
    grid = np.meshgrid(
        *[(np.arange(n) - n // 2) * s for n, s in zip(shape, spacing, strict=False)], indexing="ij"
    )
    return sum(g**2 for g in grid) <= radius_mm**2


def test_identical_masks():
    mask = box((4, 4, 4), (12, 12, 12))
    status, values = score_mask(mask, mask, SPACING)
    assert status == "ok"
    assert values == {"dice": 1.0, "iou": 1.0, "hd95": 0.0, "assd": 0.0, "surface_dice": 1.0}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shifted_slab_is_off_by_the_spacing_of_its_axis(axis):
    lo, hi = [0, 0, 0], [24, 24, 24]
    lo[axis], hi[axis] = 8, 12
    a = box(lo, hi)
    lo[axis], hi[axis] = 10, 14
    status, values = score_mask(a, box(lo, hi), SPACING)
    assert status == "ok"
    assert values["hd95"] == pytest.approx(2 * SPACING[axis])
    assert values["dice"] == pytest.approx(0.5)
    assert values["iou"] == pytest.approx(1 / 3)


def test_concentric_balls_differ_by_their_radii():
    spacing, shape = (1.0, 1.0, 2.0), (64, 64, 32)
    big, small = ball(24, spacing, shape), ball(18, spacing, shape)
    _, values = score_mask(small, big, spacing)
    assert values["assd"] == pytest.approx(6.0, abs=0.7)
    assert values["hd95"] == pytest.approx(6.0, abs=1.2)
    assert values["dice"] == pytest.approx(2 * 18**3 / (18**3 + 24**3), abs=0.01)
    assert values["surface_dice"] == 0.0


def test_surface_dice_counts_what_lies_within_two_millimetres():
    a, b = box((4, 4, 4), (20, 20, 10)), box((4, 4, 4), (20, 20, 11))
    assert score_mask(a, b, (1.0, 1.0, 1.9))[1]["surface_dice"] == 1.0
    assert score_mask(a, b, (1.0, 1.0, 2.1))[1]["surface_dice"] < 1.0


SHAPE = (20, 26, 23)


def bent_ball(radius: float, seed: int) -> np.ndarray:
    """A ball whose surface is rough."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 1.5)
    grid = np.meshgrid(*[np.arange(n) - n / 2 for n in SHAPE], indexing="ij")
    return np.sqrt(sum(g**2 for g in grid)) + 12.0 * noise < radius


PAIRS = {
    "near each other": (bent_ball(8, 0), bent_ball(8.5, 1)),
    "far apart": (bent_ball(2, 2), bent_ball(13, 3)),
    "speckled": (
        bent_ball(8, 4) ^ (np.random.default_rng(5).random(SHAPE) < 0.02),
        bent_ball(8, 6),
    ),
    "at the border": (box((0, 0, 0), (20, 5, 23), SHAPE), box((3, 0, 1), (20, 26, 9), SHAPE)),
    "one voxel": (box((3, 4, 5), (4, 5, 6), SHAPE), bent_ball(9, 7)),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("spacing", [SPACING, (2 / 3, 2 / 3, 1.0)])
def test_surfaces_are_scored_as_monai_scores_them(name, spacing):
    metrics = pytest.importorskip("monai.metrics")
    a, b = (torch.from_numpy(mask)[None, None].float() for mask in PAIRS[name])
    symmetric = {"symmetric": True, "spacing": spacing}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about an argument it gives itself
        expected = {
            "hd95": metrics.compute_hausdorff_distance(a, b, True, percentile=95, spacing=spacing),
            "assd": metrics.compute_average_surface_distance(a, b, True, **symmetric),
            "surface_dice": metrics.compute_surface_dice(a, b, [2.0], True, spacing=spacing),
        }
    found = surface_metrics(*PAIRS[name], spacing)
    assert found == pytest.approx(
        {name: float(value) for name, value in expected.items()}, abs=1e-5
    )


def test_both_empty_is_counted_but_has_no_value():
    empty = np.zeros((8, 8, 8), bool)
    status, values = score_mask(empty, empty, SPACING)
    assert status == "both_empty"
    assert all(math.isnan(v) for v in values.values())


@pytest.mark.parametrize("missed", [True, False])
def test_one_empty_scores_the_worst_not_the_best(missed):
    empty, full = np.zeros((24, 24, 24), bool), box((4, 4, 4), (8, 8, 8))
    status, values = score_mask(*((empty, full) if missed else (full, empty)), SPACING)
    diagonal = 23 * math.sqrt(0.25 + 1 + 9)
    assert status == ("missed" if missed else "invented")
    assert values == {
        "dice": 0.0,
        "iou": 0.0,
        "hd95": pytest.approx(diagonal),
        "assd": pytest.approx(diagonal),
        "surface_dice": 0.0,
    }
    assert diagonal_mm((24, 24, 24), SPACING) == pytest.approx(diagonal)


def test_rows_of_a_case():
    truth = np.zeros((8, 8, 8), np.uint8)
    truth[2:5, 2:5, 2:5] = 1
    rows = score_case(truth, truth, (1.0, 1.0, 1.0), ("background", "hip bone", "femur"))
    assert [(r["class"], r["metric"]) for r in rows] == [
        (c, m) for c in ("hip bone", "femur") for m in METRICS
    ]
    assert {r["status"] for r in rows if r["class"] == "femur"} == {"both_empty"}


def test_shapes_and_spacing_are_checked():
    a = np.ones((4, 4, 4), bool)
    with pytest.raises(DataError, match=r"\(4, 4, 5\)"):
        score_mask(a, np.ones((4, 4, 5), bool), SPACING)
    for wrong in [(1.0, 1.0), (1.0, 1.0, 0.0), (1.0, float("nan"), 1.0)]:
        with pytest.raises(ConfigError, match="three positive numbers"):
            score_mask(a, a, wrong)
    with pytest.raises(TypeError):
        score_mask(a, a)


def test_auroc_counts_pairs_with_ties_as_one_half():
    score, positive = (
        np.array([[0.1, 0.4, 0.4], [0.8, 0.2, 0.9]]),
        np.array([[0, 0, 1], [1, 1, 0]], bool),
    )
    pairs = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    assert auroc(score, positive) == pytest.approx(np.mean(pairs)) == pytest.approx(4.5 / 9)
    assert auroc(positive, positive) == 1.0
    assert auroc(~positive, positive) == 0.0
    assert np.isnan(auroc(score, np.zeros_like(positive)))
    assert np.isnan(auroc(score, np.ones_like(positive)))


def test_risk_at_coverage_of_a_good_a_useless_and_a_perfect_uncertainty():
    error = np.array([False, False, True, False, True])
    coverage = [0.2, 0.4, 0.6, 0.8, 1.0]
    assert risk_at_coverage(np.array([1, 3, 5, 2, 4]), error, coverage) == pytest.approx(
        [0, 0, 0, 1 / 4, 2 / 5]
    )
    assert risk_at_coverage(np.zeros(5), error, coverage) == pytest.approx(
        [0, 0, 1 / 3, 1 / 4, 2 / 5]
    )
    assert risk_at_coverage(error, error, coverage) == pytest.approx([0, 0, 0, 1 / 4, 2 / 5])
    assert risk_at_coverage(error, error, [0.01]) == pytest.approx([0])
