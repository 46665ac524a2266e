"""Synthetic pelves: two hips, confusers, metal, labels with a rim."""

import numpy as np
import pytest
from scipy import ndimage

from ssltut.errors import ConfigError
from ssltut.synthetic import pelvis
from ssltut.synthetic.anatomy import Anatomy, Pathology, draw
from ssltut.synthetic.pelvis import make_pelvis, socket_factor
from ssltut.synthetic.pelvis_abdomen import add_abdomen
from ssltut.synthetic.shapes import ball
from ssltut.synthetic.tissues import Canvas

COARSE = {"spacing": 6.0, "pathology": Pathology()}


def test_the_same_seed_gives_the_same_pelvis_and_another_one_another():
    first, again, other = (
        make_pelvis(1, **COARSE),
        make_pelvis(1, **COARSE),
        make_pelvis(2, **COARSE),
    )
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.label, again.label)
    assert not np.array_equal(first.image, other.image)
    assert first.image.dtype == np.int16
    assert first.spacing == (6.0, 6.0, 6.0)


def test_a_pelvis_has_two_hips_and_two_femurs_that_do_not_touch():
    case = make_pelvis(3, spacing=4.0, pathology=Pathology())
    for value in (1, 2):
        pieces = ndimage.label(case.label == value, np.ones((3, 3, 3)))[0]
        sizes = np.sort(np.bincount(pieces.ravel())[1:])[::-1]
        assert sizes[1] > 0.5 * sizes[0] and sizes[2:].sum() < 0.02 * sizes.sum(), value
    assert 0.01 < (case.label == 1).mean() < 0.06
    assert case.image[case.label == 1].mean() > 200


def test_some_scans_hold_metal_whatever_else_is_ill_and_none_where_the_pathology_is_given():
    coarse = {"spacing": 16.0, "field": (336.0, 336.0, 256.0)}
    ill = [
        make_pelvis(seed, **coarse, pathology_rate=0.0).meta["pathology"]["implant"]
        for seed in range(12)
    ]
    assert 1 <= sum(ill) <= 8
    assert not any(
        make_pelvis(seed, **coarse, pathology=Pathology()).meta["pathology"]["implant"]
        for seed in range(12)
    )


def test_bone_that_is_no_hip_is_there_only_with_confusers():
    with_them, without = (make_pelvis(4, **COARSE, confusers=share) for share in (0.7, 0.0))
    outside = [int(((case.image > 250) & (case.label == 0)).sum()) for case in (with_them, without)]
    assert np.array_equal(with_them.label, without.label)
    assert outside[0] > 1.3 * outside[1]
    with pytest.raises(ConfigError, match="a share of 2"):
        make_pelvis(4, **COARSE, confusers=2.0)


def test_the_label_takes_in_the_rim_of_a_bone_as_references_of_real_scans_do():
    case = make_pelvis(3, spacing=4.0, pathology=Pathology(), confusers=0.0)
    bone = case.label > 0
    beside, rim = ndimage.binary_dilation(bone) & ~bone, bone & ~ndimage.binary_erosion(bone)
    assert np.percentile(case.image[beside], 90) < 250 < np.percentile(case.image[rim], 60)


def test_a_head_may_lose_its_cortex_at_the_socket_and_keeps_it_elsewhere(monkeypatch):
    assert socket_factor(np.float32([-3.0, 6.0, 9.0, 12.0, 40.0]), 0.2) == pytest.approx(
        [0.2, 0.2, 0.6, 1.0, 1.0]
    )
    images = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr(pelvis, "CORTEX_AT_SOCKET", (share, share))
        case = make_pelvis(3, spacing=4.0, pathology=Pathology())
        images[share] = case.image.astype(int)
    away = 4.0 * ndimage.distance_transform_edt(case.label != 1)  # mm from the hip bone
    lost, head = images[1.0] - images[0.0], (case.label == 2) & (away < 5)
    assert lost[head].mean() > 30
    assert (lost >= 0).mean() > 0.99
    assert not lost[away > 24].any()


def test_flesh_fills_the_fat_inside_the_fascia_alone():
    p = np.stack(
        np.meshgrid(
            np.arange(-90.0, 60, 6),
            np.arange(-110.0, 100, 6),
            np.arange(30.0, 120, 6),
            indexing="ij",
        )
    ).astype(np.float32)
    fascia, bone = np.maximum(np.abs(p[1]) - 90, np.abs(p[0] + 90) - 130), ball(p, (0, 0, 60), 15.0)
    hu = np.where(fascia < 40, -100.0, -1000.0).astype(np.float32)
    hu[bone < 0] = 700.0
    before, a = hu.copy(), draw(Anatomy, np.random.default_rng(0))
    add_abdomen(p, fascia, bone, a.muscle_hu, Canvas(hu, 6.0), np.random.default_rng(1))
    assert np.array_equal(hu[fascia > 3], before[fascia > 3])
    assert np.array_equal(hu[bone < 0], before[bone < 0])
    assert 0.4 < (hu[(fascia < -3) & (bone > 3)] > 0).mean() < 0.95
    assert (hu[(bone > 3) & (bone < 8)] > 0).mean() > 0.6


def test_a_field_that_is_not_square_is_refused():
    with pytest.raises(ConfigError, match="make the first two sides equal"):
        make_pelvis(1, field=(100.0, 120.0, 100.0))
