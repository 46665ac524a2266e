"""Connected components of label maps."""

import numpy as np
import torch
from torch import Tensor


def largest_component(label: Tensor, n_classes: int) -> Tensor:
    """``remove_small_components`` that leaves one component a class."""
    return remove_small_components(label, n_classes, 1.0)


def remove_small_components(label: Tensor, n_classes: int, min_share: float) -> Tensor:
    """Hard labels (B, X, Y, Z) with the small components of the foreground classes as background.

    Small is one (26-neighbourhood) with less than ``min_share`` of the largest of its class; at a
    share of 1 the first of several equals stays.
    """
    from scipy.ndimage import label as number_components

    labels = label.cpu().numpy()
    kept = np.zeros_like(labels)
    for before, after in zip(labels, kept, strict=True):
        for c in range(1, n_classes):
            number, count = number_components(before == c, structure=np.ones((3, 3, 3)))
            if count:
                sizes = np.bincount(number.flat)[1:]
                large = sizes >= min_share * sizes.max()
                if min_share == 1:
                    large[sizes.argmax() + 1 :] = False
                after[np.concatenate([[False], large])[number]] = c
    return torch.from_numpy(kept).to(label.device)
