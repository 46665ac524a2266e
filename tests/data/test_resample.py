"""Scans on other voxels, and labels on the grid of another scan."""

import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from nibabel.affines import apply_affine
from toy import toy_cohort
from toy_nifti import AFFINE, LABEL

from ssltut import memory
from ssltut.data.case import Case
from ssltut.data.resample import bytes_of_resampling, onto_grid, resample
from ssltut.errors import ConfigError, DataWarning


def rounded(spacing=2.0, n=40):
    """A ball of radius 24 mm and one of 14 mm, in an oblique frame."""
    place = np.indices((n, n, n)) * spacing
    label = np.zeros((n, n, n), np.uint8)
    for value, radius, centre in ((1, 24.0, (40, 40, 30)), (2, 14.0, (40, 40, 62))):
        label[sum((p - c) ** 2 for p, c in zip(place, centre, strict=True)) < radius**2] = value
    turn = np.array([[0.8, -0.6, 0, 10], [0.6, 0.8, 0, -20], [0, 0, 1, 5], [0, 0, 0, 1.0]])
    return Case(
        "balls",
        "p",
        (label * 200.0 - 100.0).astype(np.int16),
        label,
        turn @ np.diag([spacing] * 3 + [1.0]),
    )


@pytest.mark.parametrize("spacing", [1.3, 3.0, 5.0])
def test_resampling_keeps_the_corners_in_mm(spacing):
    case = rounded()
    new = resample(case, (spacing,) * 3, 3)
    assert new.spacing == pytest.approx(tuple(80.0 / n for n in new.image.shape))
    assert new.spacing == pytest.approx((spacing,) * 3, rel=0.05)
    corners = np.array(list(np.ndindex(2, 2, 2)), float)
    outer = [apply_affine(c.affine, corners * c.image.shape - 0.5) for c in (case, new)]
    assert outer[0] == pytest.approx(outer[1])
    assert new.image.dtype == np.int16
    assert new.source is None
    for value in (1, 2):
        centres, volumes = zip(
            *(
                (
                    apply_affine(c.affine, np.argwhere(c.label == value).mean(0)),
                    (c.label == value).sum() * np.prod(c.spacing),
                )
                for c in (case, new)
            ),
            strict=True,
        )
        assert centres[0] == pytest.approx(centres[1], abs=0.5)
        assert volumes[1] == pytest.approx(volumes[0], rel=0.1)


def test_resampling_to_the_same_voxels_changes_nothing():
    case = rounded()
    assert resample(case, (2.0, 2.0, 2.0), 3) is case
    assert (
        resample(
            replace(case, image=case.image.astype(np.float32), label=None), (4.0,) * 3, 3
        ).image.dtype
        == np.float32
    )


def test_a_class_that_shrinks_warns_and_one_that_does_not_is_silent():
    case = rounded()
    case.label[case.label == 2] = 0
    case.label[3, 3, 3] = 2
    with pytest.warns(
        DataWarning, match=r"balls: class 2 changed its volume by -100% when resampled to 6 mm"
    ):
        resample(case, (6.0,) * 3, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resample(rounded(), (3.0,) * 3, 3)


def test_resampled_cohorts():
    cohort = toy_cohort().resampled(4.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        assert cohort.case("case0").spacing == (4.0, 4.0, 4.0)
        assert cohort.as_bone().case("case0").image.shape == (8, 8, 8)
    assert cohort.spacing == 4.0
    assert cohort.split == toy_cohort().split
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="a voxel size of"):
            toy_cohort().resampled(wrong)


def test_onto_the_same_grid_nothing_changes() -> None:
    assert np.array_equal(onto_grid(LABEL, AFFINE, LABEL.shape, AFFINE), LABEL)
    half = AFFINE.copy()
    half[:3, 3] += AFFINE[:3, 0] * 0.4
    assert np.array_equal(
        onto_grid(LABEL, AFFINE, LABEL.shape, half), LABEL
    )  # also in the outermost voxels
    assert not onto_grid(
        LABEL, AFFINE, (4, 4, 4), AFFINE + np.outer([1, 0, 0, 0], [0, 0, 0, 1e4])
    ).any()


@pytest.mark.parametrize("kind", [np.int16, np.float32])
@pytest.mark.parametrize("spacing", [1.1, 1.9, 3.0])
@pytest.mark.parametrize("labelled", [True, False])
def test_the_memory_of_resampling_is_forecast(kind, spacing, labelled):
    case = rounded(n=48)
    case = replace(case, image=case.image.astype(kind), label=case.label if labelled else None)
    resample(case, (spacing,) * 3, 3)  # what is imported on first use is not counted
    tracemalloc.start()
    new = resample(case, (spacing,) * 3, 3)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bytes_of_resampling(case, new.image.shape) == pytest.approx(taken, rel=0.2)


def test_resampling_that_does_not_fit_is_refused(monkeypatch):
    case = rounded()
    with pytest.raises(ConfigError, match=r"balls: resampling to 80000 x 80000 x 80000 .* GiB"):
        resample(case, (0.001,) * 3, 3)
    monkeypatch.setattr(memory, "free_memory", lambda: 1000.0)
    with pytest.raises(ConfigError, match=r"needs about 0\.0 GiB of memory"):
        resample(case, (3.0,) * 3, 3)
    assert resample(case, case.spacing, 3) is case
