"""A case on voxels of another size; labels keep their classes and their volume."""

import math
import warnings
from dataclasses import replace

import numpy as np

from ssltut.data.case import Case
from ssltut.errors import DataWarning
from ssltut.memory import check_memory


def resample(case: Case, spacing: tuple[float, float, float], n_classes: int) -> Case:
    """A case on voxels of nearly ``spacing`` mm; one that has it already comes back as it is.

    The corners of the volume stay, so the voxel size is the nearest that divides the extent. The
    image is interpolated linearly with anti-aliasing; a voxel gets the class with most of it.
    Warns with DataWarning when a class loses or gains more than a fifth of its volume. Raises
    ConfigError where the memory would not do.
    """
    sides = zip(case.image.shape, case.spacing, spacing, strict=True)
    shape = tuple(max(1, round(n * old / new)) for n, old, new in sides)
    if shape == case.image.shape:
        return case
    work = f"resampling to {' x '.join(map(str, shape))} voxels"
    fix = "use larger voxels, or crop the scan"
    check_memory(bytes_of_resampling(case, shape), work, where=case.id, fix=fix)
    factor = np.array(case.image.shape) / shape
    step = np.diag([*factor, 1.0])
    step[:3, 3] = (factor - 1.0) / 2.0  # voxel centres: the outer faces of the volume stay in place
    image = _resize(case.image, shape)
    if case.image.dtype == np.int16:
        image = np.rint(image).astype(np.int16)
    label = None
    if case.label is not None:
        label = np.zeros(shape, np.uint8)
        most = _resize(case.label == 0, shape)
        for c in range(1, n_classes):  # one map at a time, however many classes there are
            share = _resize(case.label == c, shape)
            label[share > most] = c
            np.maximum(most, share, out=most)
        for c in range(1, n_classes):
            old, new = (case.label == c).mean(), (label == c).mean()
            if old and abs(new - old) > 0.2 * old:
                change = f"class {c} changed its volume by {new / old - 1:+.0%}"
                problem = f"{change} when resampled to {spacing[0]:g} mm"
                fix = "use smaller voxels, or look at the label"
                warnings.warn(DataWarning(problem, where=case.id, fix=fix), stacklevel=2)
    return replace(case, image=image, label=label, affine=case.affine @ step, source=None)


def bytes_of_resampling(case: Case, shape: tuple[int, ...]) -> int:
    """The most that ``resample`` to ``shape`` takes at any time, beside the case itself."""
    old, new = case.image.size, math.prod(shape)
    is_whole = case.image.dtype == np.int16
    image = max(8 * old + 4 * new, 10 * new if is_whole else 0)
    if case.label is None:
        return image
    kept = 2 if is_whole else 4  # of the image, a voxel; then the label, and three maps of a class
    return max(image, 9 * old + (kept + 13) * new)


def _resize(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    from skimage.transform import resize

    options = {"order": 1, "anti_aliasing": True, "preserve_range": True}
    return resize(volume.astype(np.float32), shape, **options).astype(np.float32, copy=False)


def onto_grid(
    label: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int], target: np.ndarray
) -> np.ndarray:
    """``label`` (X, Y, Z) on another grid: the nearest value, 0 outside of ``label``."""
    from scipy.ndimage import affine_transform

    step = np.linalg.solve(affine, target)
    return affine_transform(label, step, output_shape=shape, order=0, mode="grid-constant")
