"""Uncertainty rectified pyramid consistency (Luo et al. 2021)."""

import torch

from ssltut.data.batch import Batch
from ssltut.methods.contract import Consistency, Nets, Network, Outs, Term
from ssltut.nets.heads import Head
from ssltut.options import NotNegative


class URPC(Consistency):
    """Outputs at four resolutions must agree with their mean; one far from it counts less.

    With P the mean of the S outputs p_s and D_s = KL(P | p_s) a voxel: L_U is the mean over s of
      mean[(P - p_s)^2 e^-D_s] / mean[e^-D_s] + mean[D_s]
    Supervised is the mean of cross-entropy + Dice over all outputs; the one at full resolution
    predicts. The published network has five levels and four outputs from its decoder. Here the
    bottleneck of four levels gives one of them; fewer levels give as many outputs as levels.

    option  published  ours  why
    weight  0.1        0.2   the code has half of cross-entropy + Dice beside it, ours all
    rampup  1.0        1.0   400 ramps of 150 steps are the whole run
    """

    name, title, year = "urpc", "URPC", 2021
    paper = "Luo et al., MICCAI 2021, arXiv:2012.07042"
    ideas = ("consistency", "evidence")
    networks = {
        "student": Network(
            heads={f"scale {level}": Head(level, supervised=True) for level in (1, 2, 3)}
        )
    }

    weight: NotNegative = 0.2

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        student = outs["student"].unlabelled
        logits = torch.stack([student.logits, *student.heads.values()])
        log_p = logits.float().log_softmax(2)  # (S, B, C, X, Y, Z)
        mean = log_p.exp().mean(0)
        divergence = mean * (mean.clamp(min=1e-12).log() - log_p)
        distance = divergence.sum(2).flatten(1)  # D_s, (S, voxels)
        trust = torch.exp(-distance)
        squared = (mean - log_p.exp()).square().mean(2).flatten(1)
        agreement = (squared * trust).mean(1) / trust.mean(1)
        return Term((agreement + distance.mean(1)).mean())
