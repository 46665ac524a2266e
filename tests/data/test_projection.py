"""Projections of scans by hand."""

from dataclasses import replace

import numpy as np
import pytest
from toy import toy_case, toy_cohort

from ssltut.data.projection import project
from ssltut.errors import ConfigError


def test_a_projection_by_hand():
    image, label = np.full((3, 4, 5), -1000, np.int16), np.zeros((3, 4, 5), np.uint8)
    image[0, :, 0], image[1, 1:3, 2] = 0, 1000  # 4 voxels of water; 2 of twice its attenuation
    label[1, 0, 2], label[1, 1:3, 2], label[2, 0, 4], label[2, 1, 4] = 1, 2, 2, 1
    affine = np.diag([1.0, 2.5, 3.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    found = project(replace(toy_case(0), image=image, label=label, affine=affine))
    assert found.image.shape == found.label.shape == (3, 5, 1)
    assert found.image.dtype == np.float32
    expected = np.zeros((3, 5))
    expected[0, 0], expected[1, 2] = 4 * 2.5, 2 * 2 * 2.5
    assert np.allclose(found.image[..., 0], expected)
    assert found.label[..., 0].nonzero()[0].tolist() == [1, 2]
    assert (found.label[1, 2, 0], found.label[2, 4, 0]) == (2, 1)
    assert found.spacing == (1.0, 3.0, 10.0)
    assert np.allclose(
        found.affine @ [1, 2, 0, 1], affine @ [1, 1.5, 2, 1]
    )  # the middle of the ray
    assert project(replace(toy_case(0), label=None)).label is None
    assert not project(replace(toy_case(0), label=np.zeros((16, 16, 16), np.uint8))).label.any()


def test_only_ct_is_projected():
    cohort = toy_cohort()
    flat = cohort.projected()
    assert flat.modality == "X-ray"
    assert flat.hash != cohort.hash
    assert flat.case("case0").image.shape == (16, 16, 1)
    with pytest.raises(ConfigError, match="the scans are X-ray"):
        flat.projected()
