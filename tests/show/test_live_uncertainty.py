"""The uncertainty explorer: counts by hand, and two sliders that move together."""

import numpy as np
import pytest
from toy_views import DOUBT, SHAPE, WRONG, uncertainty_view

from ssltut.errors import ConfigError
from ssltut.show.static.reliability import ReliabilityCounts

pytestmark = pytest.mark.usefixtures("lab")


def test_reliability_counts_by_hand():
    counts = ReliabilityCounts(
        np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, False, True, False])
    )
    assert counts.sides(0.3) == [("reliable", 2, 0.5, 1.0), ("unreliable", 2, 0.5, 0.5)]
    assert counts.caught(0.3) == 1
    assert counts.caught(0.35) == 0
    assert counts.point(0.35) == (0.75, pytest.approx(1 / 3))
    assert [counts.threshold(p) for p in (0, 50, 75)] == [0.1, 0.3, 0.4]
    assert counts.kept(counts.threshold(100)) == 4
    assert np.isnan(ReliabilityCounts(np.array([0.1]), np.array([False])).caught(0.0))
    part = ReliabilityCounts(
        np.array([0.1, 0.2, 0.3]), np.array([True, False, False]), np.array([False, True, True])
    )
    assert part.sides(0.25) == [("reliable", 1, 0.5, 1.0), ("unreliable", 1, 0.5, 1.0)]
    assert (
        part.in_words(0.0)
        == "At 0.000 nats\nreliable: 0 voxels (0.0%)\nunreliable: 2 voxels (100.0%),\n    100.0% of"
        " them right"
    )
    assert ReliabilityCounts(np.array([0.1, 0.2])).point(0.15) == (0.15, 0.5)
    sides = ReliabilityCounts(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))
    assert sides.labels(0.5).tolist() == [0, 1, 3, 2]
    assert ReliabilityCounts(np.array([0, 1])).labels(0.5).tolist() == [0, 1]


def test_nats_and_percentile_move_together():
    view = uncertainty_view()
    assert view.percentile.value == pytest.approx(95, abs=0.1)
    before = view.curve.value, view.explorer.images["axial"].value
    view.percentile.value = 50
    assert view.nats.value == pytest.approx(np.median(DOUBT), abs=0.002)
    assert view.percentile.value == pytest.approx(50, abs=0.1)
    view.nats.value = 0.25
    assert view.percentile.value == pytest.approx(100 * (DOUBT < 0.25).mean())
    right = 1 - WRONG[DOUBT < 0.25].mean()
    assert f"{(DOUBT < 0.25).sum():,} voxels" in view.counts.value
    assert f"{right:.1%} of them right" in view.counts.value
    assert view.curve.value != before[0]
    assert view.explorer.images["axial"].value != before[1]
    expected = ReliabilityCounts(DOUBT, WRONG).labels(0.25)
    assert (view.explorer.scenes["reliable and unreliable"].overlay == expected).all()


def test_without_truth_there_are_two_sides():
    view = uncertainty_view(wrong=None)
    assert "right" not in view.counts.value
    assert view.explorer.scene.table.n_classes == 2
    assert view.explorer.layer.options == (
        "reliable and unreliable",
        "uncertainty (nats)",
        "image alone",
    )


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        ({"wrong": WRONG[1:]}, "wrong has shape"),
        ({"where": WRONG[1:]}, "where has shape"),
        ({"where": np.zeros(SHAPE, bool)}, "no voxel to count"),
    ],
)
def test_what_does_not_fit_an_uncertainty_map_is_refused(broken, match):
    with pytest.raises(ConfigError, match=match):
        uncertainty_view(**broken)
    uncertainty_view(where=WRONG)
