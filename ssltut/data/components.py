"""Connected pieces of label maps."""

import numpy as np
import torch
from torch import Tensor


def largest_component(label: Tensor, n_classes: int) -> Tensor:
    """``remove_small_components`` with one piece a class."""
    return remove_small_components(label, n_classes, 1.0)


def remove_small_components(label: Tensor, n_classes: int, min_share: float) -> Tensor:
    """Hard labels (B, X, Y, Z) without the pieces (26-neighbourhood) of a foreground class that
    have less than ``min_share`` of the voxels of its largest.
    """
    from scipy.ndimage import label as pieces

    found = label.cpu().numpy()
    kept = np.zeros_like(found)
    for sample, out in zip(found, kept, strict=False):
        for c in range(1, n_classes):
            number, count = pieces(sample == c, structure=np.ones((3, 3, 3)))
            if count:
                sizes = np.bincount(number.flat)[1:]
                large = sizes >= min_share * sizes.max()
                large[sizes.argmax() + 1 :] &= min_share < 1  # of equals the first
                out[np.concatenate([[False], large])[number]] = c
    return torch.from_numpy(kept).to(label.device)
