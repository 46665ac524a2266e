"""A pelvis of balls and cylinders: two hips that can be found by their labels or by their bone."""

import numpy as np
from scipy.ndimage import binary_erosion

from ssltut.data.case import Case


def ball(
    shape: tuple[int, ...], spacing: np.ndarray, centre: tuple[float, ...], radius: float
) -> np.ndarray:
    place = (np.indices(shape).T * spacing - centre).T
    return (place**2).sum(0) <= radius**2


def pelvis(spacing: tuple[float, float, float] = (3.0, 3.0, 3.0)) -> Case:
    """280 x 160 x 150 mm with two hips and a vertebra in the middle.

    A hip is a femur (head of 23 mm, shaft) under a hip bone, with cortical bone around spongy bone.
    """
    mm = np.array(spacing)
    shape = tuple(np.rint(np.array([280, 160, 150]) / mm).astype(int))
    label, image = np.zeros(shape, np.uint8), np.full(shape, 40, np.int16)
    image[ball(shape, mm, (140, 100, 120), 18)] = 220
    for x, out in ((55.0, -1), (225.0, 1)):
        femur = ball(shape, mm, (x, 90, 70), 23)
        for step in range(0, 60, 3):
            femur |= ball(shape, mm, (x + out * min(step, 35), 88, 70 - step), 13)
        hip = (
            ball(shape, mm, (x - out * 8, 92, 88), 34) | ball(shape, mm, (x - out * 5, 95, 120), 22)
        ) & ~ball(shape, mm, (x, 90, 70), 25)
        label[hip], label[femur] = 1, 2
    for value, hu in ((1, 450), (2, 350)):
        image[label == value] = hu
        image[(label == value) & ~binary_erosion(label == value)] = 900
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-140, -80, 900)
    return Case("pelvis", "p", image, label, affine, {"modality": "CT"})
