"""A case on voxels of another size; labels keep their classes and their volume."""

import warnings
from dataclasses import replace

import numpy as np

from ssltut.data.case import Case
from ssltut.errors import DataWarning


def resample(case: Case, spacing: tuple[float, float, float], n_classes: int) -> Case:
    """A case on voxels of nearly ``spacing`` mm; one that has it already comes back as it is.

    The corners of the volume stay, so the voxel size is the nearest that divides the extent. The
    image is interpolated linearly with anti-aliasing; a voxel gets the class with most of it.
    Warns with DataWarning when a class loses or gains more than a fifth of its volume.
    """
    sides = zip(case.image.shape, case.spacing, spacing, strict=True)
    shape = tuple(max(1, round(n * old / new)) for n, old, new in sides)
    if shape == case.image.shape:
        return case
    factor = np.array(case.image.shape) / shape
    step = np.diag([*factor, 1.0])
    step[:3, 3] = (factor - 1.0) / 2.0  # voxel centres: the outer faces of the volume stay in place
    image = _resize(case.image, shape)
    if case.image.dtype == np.int16:
        image = np.rint(image).astype(np.int16)
    label = None
    if case.label is not None:
        shares = [_resize(case.label == c, shape) for c in range(n_classes)]
        label = np.argmax(shares, axis=0).astype(np.uint8)
        for c in range(1, n_classes):
            old, new = (case.label == c).mean(), (label == c).mean()
            if old and abs(new - old) > 0.2 * old:
                change = f"class {c} changed its volume by {new / old - 1:+.0%}"
                problem = f"{change} when resampled to {spacing[0]:g} mm"
                fix = "use smaller voxels, or look at the label"
                warnings.warn(DataWarning(problem, where=case.id, fix=fix), stacklevel=2)
    return replace(case, image=image, label=label, affine=case.affine @ step, source=None)


def _resize(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    from skimage.transform import resize

    options = {"order": 1, "anti_aliasing": True, "preserve_range": True}
    return resize(volume.astype(np.float32), shape, **options).astype(np.float32)


def onto_grid(
    label: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int], target: np.ndarray
) -> np.ndarray:
    """``label`` (X, Y, Z) on another grid: the nearest value, 0 outside of ``label``."""
    from scipy.ndimage import affine_transform

    step = np.linalg.solve(affine, target)
    return affine_transform(label, step, output_shape=shape, order=0, mode="grid-constant")
