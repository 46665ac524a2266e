"""Signed distance maps of labels."""

import numpy as np
import torch
from torch import Tensor


def signed_distance(label: Tensor, n_classes: int) -> Tensor:
    """(B, X, Y, Z) hard labels to (B, C - 1, X, Y, Z) float32 in [-1, 1], one map a foreground
    class: below 0 inside it, above 0 outside.

    Distances are in voxels, divided by the largest inside and outside. The surface runs between
    voxels, so no voxel has the value 0 that would be on both sides. Without the class in a patch
    the map is 1 everywhere, with nothing else in it -1: an all-zero map, as released code has it,
    would say that surface is everywhere.
    """
    from scipy.ndimage import distance_transform_edt

    found = label.cpu().numpy()
    maps = np.ones((len(found), n_classes - 1, *found.shape[1:]), np.float32)
    for b, c in np.ndindex(maps.shape[:2]):
        inside = found[b] == c + 1
        if inside.all():
            maps[b, c] = -1.0
        elif inside.any():
            near, far = distance_transform_edt(inside) - 0.5, distance_transform_edt(~inside) - 0.5
            maps[b, c] = np.where(inside, -near / near.max(), far / far.max())
    return torch.from_numpy(maps).to(label.device)
