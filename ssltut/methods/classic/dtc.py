"""Dual-task consistency (Luo et al. 2021)."""

import torch
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import Consistency, Nets, Network, Outs, Term, Terms
from ssltut.methods.parts.distance import signed_distance
from ssltut.nets.heads import Head


class DTC(Consistency):
    """A second head draws the signed distance to the surface; turned back into a mask it must agree
    with the first.

    Terms: "distance", MSE of tanh(head) against the true map, weight 0.3, labelled patches;
    "consistency", mean of (σ(-k d) - p)^2 with k = 1500 over all patches, weight ramp(t/T).
    Departures: softmax and one map a foreground class (published: one class, a sigmoid);
    cross-entropy + Dice where the paper has Dice alone; the surface runs between voxels, and a
    patch without the class is far outside it (``signed_distance``); Adam.
    """

    name, title, year = "dtc", "DTC", 2021
    paper = "Luo et al., AAAI 2021, arXiv:2009.04448"
    ideas = ("consistency", "shape")
    networks = {"student": Network(heads={"sdf": Head(level=0, background=False)})}

    weight: float = 1.0
    sdf_weight: float = 0.3
    k: float = 1500.0

    def labelled(self, batch: Batch, outs: Outs) -> Terms:
        terms = super().labelled(batch, outs)
        if self.sdf_weight:
            truth = signed_distance(batch.y_l, batch.n_classes)
            found = outs["student"].labelled.heads["sdf"].float().tanh()
            terms["distance"] = Term(F.mse_loss(found, truth), self.sdf_weight)
        return terms

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        out = outs["student"].whole
        mask = torch.sigmoid(-self.k * out.heads["sdf"].float().tanh())
        return Term((mask - out.logits.float().softmax(1)[:, 1:]).square().mean())
