"""Tables of draws x patients against numbers worked out by hand."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from ssltut.evaluation.draws import (
    bootstrap_interval,
    mean_interval,
    sign_flip_p,
    without_holes,
)

NAN = float("nan")


def test_two_draws_of_three_patients_by_hand():
    # means: draws 3 and 5, patients 2, 4 and 6, all 4; residuals 0, -1, 1 and 0, 1, -1
    # mean squares: draws 3 (1 + 1) / 1 = 6, patients 2 (4 + 0 + 4) / 2 = 8, residual 4 / 2 = 2
    # Var(mean) = (6 + 8 - 2) / 6 = 2, degrees of freedom 12^2 / (6^2 / 1 + 6^2 / 2) = 8 / 3
    mean, low, high = mean_interval(np.array([[1.0, 2.0, 6.0], [3.0, 6.0, 6.0]]))
    half = t.ppf(0.975, 8 / 3) * np.sqrt(2)
    assert (mean, low, high) == pytest.approx((4, 4 - half, 4 + half))


def test_patients_that_vary_less_than_the_residual_add_nothing():
    # mean squares: draws 2 (1 + 1) = 4, patients 0, residual 4; Var(mean) = 4 / 4 = 1
    mean, low, high = mean_interval(np.array([[0.0, 2.0], [4.0, 2.0]]))
    assert (mean, high - mean, mean - low) == pytest.approx((2, 12.7062, 12.7062), abs=1e-3)
    assert mean_interval(np.full((3, 4), 0.5)) == (0.5, 0.5, 0.5)


def test_draws_with_patients_of_their_own_are_the_only_unit():
    # variance of 1, 2 and 6 is 7; t with 2 degrees of freedom is 4.3027
    mean, low, high = mean_interval(np.array([[1.0], [2.0], [6.0]]))
    assert (mean, high - mean, mean - low) == pytest.approx((3, 6.572, 6.572), abs=1e-3)


def test_one_draw_has_an_interval_over_its_patients():
    values = np.array([[0.2, 0.5, 0.9, 0.4]])
    assert mean_interval(values) == (0.5, *bootstrap_interval(values[0]))
    assert np.isnan(mean_interval(values[:, :1])[1:]).all()
    assert np.isnan(mean_interval(values[:0, :1])).all()


def test_patients_that_a_draw_lacks_are_left_out():
    table = pd.DataFrame([[1.0, 2.0, 3.0], [4.0, NAN, 5.0], [NAN] * 3])
    assert without_holes(table).tolist() == [[1, 3], [4, 5]]


def test_folds_are_seen_by_their_patients():
    folds = pd.DataFrame([[1.0, 3.0, NAN, NAN], [NAN, NAN, 4.0, 6.0]])
    assert without_holes(folds).tolist() == [[2], [5]]
    most = pd.DataFrame([[1.0, 3.0, 5.0, NAN, NAN], [1.0, 3.0, NAN, 4.0, 8.0]])
    assert without_holes(most).tolist() == [[3], [4]]
    assert without_holes(pd.DataFrame()).shape == (0, 1)


def test_the_interval_holds_for_other_draws_and_patients():
    """What docs/statistics.md says, at a small size; patients alone would hold in half of them."""
    rng, n = np.random.default_rng(0), 200
    tables = rng.normal(size=(n, 5, 1)) + rng.normal(size=(n, 1, 20)) + rng.normal(size=(n, 5, 20))
    intervals = np.array([mean_interval(table) for table in tables])
    covered = (intervals[:, 1] <= 0) & (intervals[:, 2] >= 0)
    assert 0.91 <= covered.mean() <= 0.98
    patients = tables.mean(axis=1)
    near = np.abs(patients.mean(axis=1)) <= 2.1 * patients.std(axis=1, ddof=1) / np.sqrt(20)
    assert near.mean() < 0.75


@pytest.mark.parametrize(
    ("values", "p"),
    [
        ([1, 2, 3], 2 / 8),  # only 6 and -6 are as far
        ([3, 2, -1], 4 / 8),  # 6, 4 and their opposites
        ([1, 2, -3], 1.0),
        ([0, 0, 0, 0], 1.0),
        ([1, 1, 1, 1, 1], 2 / 32),
    ],
)
def test_sign_flips_by_counting(values, p):
    assert sign_flip_p(np.array(values, float)) == pytest.approx(p)


def test_one_draw_cannot_be_tested():
    assert np.isnan(sign_flip_p(np.array([1.0])))


def test_signs_of_many_draws_are_drawn_and_always_the_same():
    values = np.random.default_rng(0).normal(0.3, 1.0, 15)
    sums = np.abs(np.array(list(product((1, -1), repeat=15))) @ values)
    assert sign_flip_p(values) == pytest.approx(np.mean(sums >= values.sum() - 1e-9), abs=0.02)
    assert sign_flip_p(values) == sign_flip_p(values)


def test_bootstrap_interval_is_exact_for_two_values():
    # of the 4 equally likely resamples of (0, 1) one has mean 0, two 0.5, one 1: a quarter on
    # either side
    assert bootstrap_interval(np.array([0.0, 1.0]), level=0.4) == (0.5, 0.5)
    assert bootstrap_interval(np.array([0.0, 1.0]), level=0.6) == (0.0, 1.0)
    assert bootstrap_interval(np.array([3.0, 3.0, NAN])) == (3.0, 3.0)
    assert np.isnan(bootstrap_interval(np.array([3.0, NAN]))).all()


def test_bootstrap_interval_of_normal_values():
    values = np.random.default_rng(0).normal(10.0, 2.0, 400)
    low, high = bootstrap_interval(values)
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * values.std() / 20, values.mean() + 1.96 * values.std() / 20),
        abs=0.03,
    )
