"""Projections of scans, as on an X-ray: pictures one voxel thick."""

from dataclasses import replace

import numpy as np

from ssltut.data.case import Case


def project(case: Case) -> Case:
    """A CT seen from the front by parallel rays: image (X, Z, 1) float32 in mm of water, label (X,
    Z, 1) the bone its ray crosses longest.

    Axes are right, superior, and the thickness of the scan; the affine says so. Where bones overlap
    an X-ray has no single label: the longest way wins, and the lowest class among equals.
    """
    step = case.spacing[1]
    water = np.clip(case.image.astype(np.float32) / 1000.0 + 1.0, 0.0, None)
    label = None
    if case.label is not None:
        ways = np.stack(
            [(case.label == c).sum(1) for c in range(1, int(case.label.max()) + 1)]
            or [np.zeros(water.sum(1).shape)]
        )
        label = np.where(ways.any(0), ways.argmax(0) + 1, 0).astype(np.uint8)[..., None]
    affine = case.affine[:, [0, 2, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 2] * (case.image.shape[1] - 1) / 2
    affine[:3, 2] *= case.image.shape[1]
    return replace(
        case,
        image=water.sum(1)[..., None] * np.float32(step),
        label=label,
        affine=affine,
        source=None,
    )
