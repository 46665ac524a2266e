"""The two hips of a pelvis as scans of their own, found by labels or else by the bone itself."""

from dataclasses import replace

import numpy as np

from ssltut.data.case import Case
from ssltut.errors import DataError

GRID = 4.0  # mm, of the search without labels
HEAD = 24.0  # mm, the radius of a femoral head
ASIDE = (50.0, 130.0)  # mm from the middle of the bones, where hip joints lie
BONE, CORTEX = 150, 350  # HU
FILLED = 0.6  # least share above BONE in the ball of HEAD mm; four real hips: 0.73 to 0.94
# Least share above CORTEX within 8 mm more; those hips: 0.11 to 0.46, a kidney with contrast: none.
SHELL = 0.04
# mm from that ball to the middle of the upper femur: outwards, back, down (mean of two hips).
TO_CENTRE = (15.0, -10.0, -18.0)


def crop_hips(case: Case, size_mm: float = 160.0) -> dict[str, Case]:
    """The two hips of a pelvis, "left" and "right": cubes of ``size_mm``, clipped to the scan.

    A cube lies around the upper 50 mm of a femur. With a label (1 hip bone, 2 femur) the femurs in
    it say where; without one the scan must be a CT in HU, and on each side the ball of the size of
    a femoral head that holds most bone does. ``meta["found by"]`` says which.
    Raises DataError for a label without hip bone, or when one side has no femur or no joint.
    """
    centres = _by_bone(case) if case.label is None else _by_label(case)
    found_by = "bone" if case.label is None else "labels"
    return {side: _cube(case, side, centre, size_mm, found_by) for side, centre in centres.items()}


def _by_label(case: Case) -> dict[str, np.ndarray]:
    pelvis, femur = (np.argwhere(case.label == value) for value in (1, 2))
    if not len(pelvis):
        problem = "without a label of the hip bone no hip can be found"
        raise DataError(problem, where=case.id, fix="give a case with labels 1 hip bone, 2 femur")
    middle = (pelvis[:, 0].min() + pelvis[:, 0].max()) / 2
    is_right = femur[:, 0] > middle  # RAS+: the index grows to the right
    centres = {}
    for side, own in (("left", femur[~is_right]), ("right", femur[is_right])):
        if not len(own):
            fix = "use a scan that shows both hips"
            raise DataError(f"there is no femur on the {side} side", where=case.id, fix=fix)
        centres[side] = own[own[:, 2] > own[:, 2].max() - 50 / case.spacing[2]].mean(axis=0)
    return centres


def _share_in_ball(case: Case, above: float, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """What is ``above`` a HU value, and its share of the ball around each voxel, on GRID mm."""
    from scipy.ndimage import zoom
    from scipy.signal import fftconvolve

    mask = (case.image > above).astype(np.float32)
    mask = zoom(mask, np.array(case.spacing) / GRID, order=1, grid_mode=True, mode="nearest")
    reach = int(radius // GRID)
    ball = np.linalg.norm(np.indices((2 * reach + 1,) * 3) - reach, axis=0) <= radius / GRID
    return mask, fftconvolve(mask, ball / ball.sum(), mode="same")


def _by_bone(case: Case) -> dict[str, np.ndarray]:
    """On each side the ball of a femoral head's size fullest of bone, with cortical bone near."""
    bone, filled = _share_in_ball(case, BONE, HEAD)
    _, shell = _share_in_ball(case, CORTEX, HEAD + 8)
    across = np.arange(len(bone))
    middle = (across * bone.sum((1, 2))).sum() / max(bone.sum(), 1e-6)
    centres = {}
    for side, sign in (("left", -1), ("right", 1)):
        aside = (across - middle) * GRID * sign
        possible = ((aside >= ASIDE[0]) & (aside <= ASIDE[1]))[:, None, None] & (shell >= SHELL)
        filled_there = np.where(possible, filled, 0)
        best = np.unravel_index(filled_there.argmax(), filled_there.shape)
        if filled_there[best] < FILLED:
            share = f"the fullest ball of {HEAD:g} mm is {filled_there[best]:.0%} bone"
            problem = f"no hip joint was found on the {side} side ({share}, a joint {FILLED:.0%})"
            fix = "leave out the cropping, or give labels of the hip bones and femurs"
            raise DataError(problem, where=case.id, fix=fix)
        centre_mm = (np.array(best) + 0.5) * GRID + np.multiply(TO_CENTRE, (sign, 1, 1))
        centres[side] = centre_mm / case.spacing - 0.5
    return centres


def _cube(case: Case, side: str, centre: np.ndarray, size_mm: float, found_by: str) -> Case:
    voxels = np.rint(size_mm / np.array(case.spacing)).astype(int)
    first = np.rint(centre - (voxels - 1) / 2).astype(int)
    low, high = np.maximum(first, 0), np.minimum(first + voxels, case.image.shape)
    box = tuple(map(slice, low, high))
    affine = case.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    name, image = f"{case.id}-{side}", case.image[box].copy()
    label = None if case.label is None else case.label[box].copy()
    meta = {**case.meta, "side": side, "found by": found_by}
    return replace(case, id=name, image=image, label=label, affine=affine, meta=meta)
