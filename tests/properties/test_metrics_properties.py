"""Properties of the numbers, on inputs that hypothesis draws: ``make campaign`` draws 200 of each.

The oracle of the distances compares every pair of surface voxels in float64.
"""

import numpy as np
import pytest
import torch
from examples import SEEDS, SPACINGS, several, sides
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from ssltut.evaluation.draws import bootstrap_interval, sign_flip_p
from ssltut.evaluation.statistics import holm
from ssltut.metrics import METRICS, TOLERANCE_MM, auroc, risk_at_coverage, score_mask
from ssltut.training.windows import sliding_window

SIDES = sides(4, 9)


def masks(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two masks that are neither empty nor alike."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.05, 0.7)
    pair = rng.random((2, *shape)) < share
    pair[:, 1, 1, 1] = True
    return pair[0], pair[1]


def distances(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """mm from every surface voxel of ``a`` to the nearest of ``b``, by comparing all pairs."""
    edges = [m & ~binary_erosion(np.pad(m, 1))[1:-1, 1:-1, 1:-1] for m in (a, b)]
    at, of = (np.argwhere(edge) * np.array(spacing, np.float64) for edge in edges)
    return np.sqrt(((at[:, None] - of[None]) ** 2).sum(-1)).min(1)


@several
@given(SEEDS, SIDES, SPACINGS)
def test_distances_are_those_of_all_pairs(seed, shape, spacing) -> None:
    a, b = masks(seed, shape)
    _, values = score_mask(a, b, spacing)
    there, back = distances(a, b, spacing), distances(b, a, spacing)
    both = np.concatenate([there, back])
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    assert values["hd95"] == pytest.approx(hd95, rel=1e-5)
    assert values["assd"] == pytest.approx(both.mean(), rel=1e-5, abs=1e-6)
    if not np.isclose(both, TOLERANCE_MM, rtol=1e-4).any():  # rounding decides those
        assert values["surface_dice"] == pytest.approx((both <= TOLERANCE_MM).mean(), abs=1e-6)
    assert values["dice"] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


@several
@given(SEEDS, SIDES, SPACINGS)
def test_prediction_and_truth_may_change_places(seed, shape, spacing) -> None:
    a, b = masks(seed, shape)
    there, back = score_mask(a, b, spacing)[1], score_mask(b, a, spacing)[1]
    assert there == pytest.approx(back, rel=1e-5)
    same = {"dice": 1.0, "iou": 1.0, "hd95": 0.0, "assd": 0.0, "surface_dice": 1.0}
    assert score_mask(a, a, spacing)[1] == same


@several
@given(SEEDS, SIDES, SPACINGS, st.permutations(range(3)), st.sets(st.integers(0, 2)))
def test_scores_do_not_depend_on_how_the_axes_lie(seed, shape, spacing, order, turned) -> None:
    a, b = masks(seed, shape)
    expected = score_mask(a, b, spacing)[1]
    moved = [np.flip(m, tuple(turned)).transpose(order) for m in (a, b)]
    assert score_mask(*moved, tuple(spacing[k] for k in order))[1] == pytest.approx(
        expected, rel=1e-5
    )


@several
@given(SEEDS, SIDES, SPACINGS, st.floats(0.1, 10))
def test_distances_scale_with_the_voxels(seed, shape, spacing, scale) -> None:
    a, b = masks(seed, shape)
    before = score_mask(a, b, spacing)[1]
    after = score_mask(a, b, tuple(scale * s for s in spacing))[1]
    for name in ("hd95", "assd"):
        assert after[name] == pytest.approx(scale * before[name], rel=1e-4)
    assert [after[n] for n in ("dice", "iou")] == [before[n] for n in ("dice", "iou")]


@several
@given(SEEDS, SIDES, SPACINGS)
def test_a_miss_is_the_worst_there_is(seed, shape, spacing) -> None:
    a, b = masks(seed, shape)
    empty = np.zeros_like(a)
    found, missed = score_mask(a, b, spacing)[1], score_mask(empty, b, spacing)[1]
    for name in METRICS:
        worse = missed[name] >= found[name] if name in ("hd95", "assd") else missed[name] == 0
        assert worse, name


@several
@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), max_size=12))
def test_holm_keeps_the_order_and_never_lowers(p) -> None:
    adjusted = holm(p)
    known = [(a, b) for a, b in zip(p, adjusted, strict=True) if a == a]
    assert [a != a for a in p] == [b != b for b in adjusted]
    ranked = sorted(known)
    assert [b for _, b in ranked] == sorted(b for _, b in ranked)
    for rank, (a, b) in enumerate(ranked):
        by_hand = max(min(1, ranked[j][0] * (len(ranked) - j)) for j in range(rank + 1))
        assert a <= b <= 1
        assert b == pytest.approx(by_hand)


@several
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_pairs(pairs) -> None:
    score, positive = (np.array(column) for column in zip(*pairs, strict=True))
    high, low = score[positive], score[~positive]
    assume(len(high) and len(low))
    share = (np.sign(high[:, None] - low).mean() + 1) / 2
    assert auroc(score, positive) == pytest.approx(share)
    assert auroc(-score, positive) == pytest.approx(1 - share)
    assert auroc(np.exp(score), positive) == pytest.approx(share)


@several
@given(SEEDS, st.integers(2, 200))
def test_no_order_is_better_than_the_oracles(seed, n) -> None:
    rng = np.random.default_rng(seed)
    error, coverage = rng.random(n) < 0.3, np.linspace(0.05, 1, 9)
    best = risk_at_coverage(error, error, coverage)
    risk = risk_at_coverage(rng.random(n), error, coverage)
    assert (best <= risk + 1e-12).all()
    assert risk[-1] == pytest.approx(error.mean())


@several
@given(SEEDS, st.integers(2, 9), st.floats(-3, 3), st.floats(0.1, 5))
def test_intervals_move_with_the_values(seed, n, shift, scale) -> None:
    values = np.random.default_rng(seed).normal(size=n)
    low, high = bootstrap_interval(values)
    assert low <= high
    moved = bootstrap_interval(scale * values + shift)
    assert moved == pytest.approx((scale * low + shift, scale * high + shift), abs=1e-6)
    assert sign_flip_p(values) == pytest.approx(sign_flip_p(-scale * values), abs=1e-9)
    assert 0 < sign_flip_p(values) <= 1


@several
@given(SEEDS, sides(3, 20), sides(4, 12))
def test_windows_of_a_pointwise_network_leave_no_seams(seed, shape, patch) -> None:
    image = np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    def pointwise(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, 2 * x + 1], 1)

    out = sliding_window(pointwise, image, patch, torch.device("cpu")).numpy()
    assert out.shape == (2, *shape)
    np.testing.assert_allclose(out, np.stack([image, 2 * image + 1]), atol=1e-4)
