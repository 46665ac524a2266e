"""A label moved onto another grid keeps its place."""

import numpy as np
from toy_nifti import AFFINE, LABEL

from ssltut.data.resample import onto_grid


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
