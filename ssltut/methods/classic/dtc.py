"""Dual-task consistency (Luo et al. 2021)."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import Consistency, Nets, Network, Outs, Term, Terms
from ssltut.nets.heads import Head
from ssltut.options import NotNegative, Positive


class DTC(Consistency):
    """A second head gives the signed distance to the surface, and must agree with the mask.

    L = L_S + sdf_weight mean (d - d_true)^2 + weight ramp(t/T) mean (σ(-k d) - p)^2 with d the tanh
    of the head; distances are learnt from labels, agreement from all patches. Published with one
    class and a sigmoid: here softmax and a distance for each foreground class. The surface runs
    between voxels, and a patch without the class is far outside it (``signed_distance``).

    option      published  ours    why
    weight      1.0        1.0     beside the whole Dice in both; cross-entropy is added to it here
    rampup      1.0        1.0     40 ramps of 150 steps are the whole run
    sdf_weight  0.3        0.3
    k           1500       1500.0
    """

    name, title, year = "dtc", "DTC", 2021
    paper = "Luo et al., AAAI 2021, arXiv:2009.04448"
    ideas = ("consistency", "shape")
    networks = {"student": Network(heads={"sdf": Head(level=0, background=False)})}

    weight: NotNegative = 1.0
    sdf_weight: NotNegative = 0.3
    k: Positive = 1500.0

    def labelled(self, batch: Batch, outs: Outs) -> Terms:
        terms = super().labelled(batch, outs)
        if self.sdf_weight:
            truth = signed_distance(batch.y_l, batch.n_classes)
            distance = outs["student"].labelled.heads["sdf"].float().tanh()
            terms["distance"] = Term(F.mse_loss(distance, truth), self.sdf_weight)
        return terms

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        out = outs["student"].whole
        mask = torch.sigmoid(-self.k * out.heads["sdf"].float().tanh())
        return Term((mask - out.logits.float().softmax(1)[:, 1:]).square().mean())


def signed_distance(label: Tensor, n_classes: int) -> Tensor:
    """(B, X, Y, Z) hard labels to (B, C - 1, X, Y, Z) float32 in [-1, 1], a map a foreground class.

    Below 0 inside the class, above 0 outside, in voxels divided by the largest distance inside and
    outside. The surface runs between voxels, so no voxel has the value 0 that would be on both
    sides. Without the class in a patch the map is 1 everywhere, with nothing else in it -1: an
    all-zero map, as released code has it, would say that surface is everywhere.
    """
    from scipy.ndimage import distance_transform_edt

    labels = label.cpu().numpy()
    maps = np.ones((len(labels), n_classes - 1, *labels.shape[1:]), np.float32)
    for b, c in np.ndindex(maps.shape[:2]):
        inside = labels[b] == c + 1
        if inside.all():
            maps[b, c] = -1.0
        elif inside.any():
            near = distance_transform_edt(inside) - 0.5
            far = distance_transform_edt(~inside) - 0.5
            maps[b, c] = np.where(inside, -near / near.max(), far / far.max())
    return torch.from_numpy(maps).to(label.device)
