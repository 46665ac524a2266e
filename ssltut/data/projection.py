"""Projections of scans, as on an X-ray: pictures one voxel thick."""

from dataclasses import replace

import numpy as np

from ssltut.data.case import Case


def project(case: Case) -> Case:
    """A CT seen from the front by parallel rays.

    The image (X, Z, 1) is float32 in mm of water; the last axis is the thickness of the scan. The
    label (X, Z, 1) is the bone that a ray crosses longest, the lowest class among equals.
    """
    depth = case.image.shape[1]
    water = np.clip(case.image.astype(np.float32) / 1000.0 + 1.0, 0.0, None)
    image = water.sum(1)[..., None] * np.float32(case.spacing[1])
    label = None
    if case.label is not None:
        crossed = [(case.label == c).sum(1) for c in range(1, int(case.label.max()) + 1)]
        lengths = np.stack([np.zeros(image.shape[:2]), *crossed])  # class 0 where none is crossed
        label = lengths.argmax(0).astype(np.uint8)[..., None]
    affine = case.affine[:, [0, 2, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 2] * (depth - 1) / 2
    affine[:3, 2] *= depth
    return replace(case, image=image, label=label, affine=affine, source=None)
