"""A case on voxels of another size; labels keep their classes and their volume."""

import warnings
from dataclasses import replace

import numpy as np

from ssltut.data.case import Case
from ssltut.errors import DataWarning


def resample(case: Case, spacing: tuple[float, float, float], n_classes: int) -> Case:
    """Linear with anti-aliasing for the image; for the label the class with the largest resampled
    share of a voxel.

    The corners of the volume stay where they are, so the voxel size is the nearest one to
    ``spacing`` (mm) that divides the extent; a case that has it already is given back as it is.
    Warns with DataWarning when a class loses or gains more than a fifth of its volume.
    """
    from skimage.transform import resize

    shape = tuple(
        max(1, round(n * old / new))
        for n, old, new in zip(case.image.shape, case.spacing, spacing, strict=True)
    )
    if shape == case.image.shape:
        return case
    factor = np.array(case.image.shape) / shape
    step = np.diag([*factor, 1.0])
    step[:3, 3] = (factor - 1.0) / 2.0  # voxel centres: the outer faces of the volume stay in place
    image = resize(
        case.image.astype(np.float32), shape, order=1, anti_aliasing=True, preserve_range=True
    )
    image = (
        np.rint(image).astype(np.int16)
        if case.image.dtype == np.int16
        else image.astype(np.float32)
    )
    label = None
    if case.label is not None:
        shares = [
            resize((case.label == c).astype(np.float32), shape, order=1, anti_aliasing=True)
            for c in range(n_classes)
        ]
        label = np.argmax(shares, axis=0).astype(np.uint8)
        for c in range(1, n_classes):
            before, after = (case.label == c).mean(), (label == c).mean()
            if before and abs(after - before) > 0.2 * before:
                warnings.warn(
                    DataWarning(
                        f"class {c} changed its volume by {after / before - 1:+.0%} when resampled"
                        f" to {spacing[0]:g} mm",
                        where=case.id,
                        fix="use smaller voxels, or look at the label",
                    ),
                    stacklevel=2,
                )
    return replace(case, image=image, label=label, affine=case.affine @ step, source=None)


def onto_grid(
    label: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int], target: np.ndarray
) -> np.ndarray:
    """``label`` (X, Y, Z) with its ``affine`` on the grid of ``shape`` and affine ``target``: the
    nearest voxel's value, 0 outside of
    it.
    """
    from scipy.ndimage import affine_transform

    step = np.linalg.solve(affine, target)
    return affine_transform(
        label, step[:3, :3], step[:3, 3], output_shape=shape, order=0, mode="grid-constant"
    )
