"""Multi-task attention (Chen et al. 2019), MTC in the table of Xie et al. 2024; our reading."""

import torch

from ssltut.data.batch import Batch
from ssltut.methods.contract import Consistency, Nets, Network, Outs, Term
from ssltut.nets.heads import Head
from ssltut.options import Fraction


class MTC(Consistency):
    """A second decoder reconstructs the scan, class by class, where the first one sees that class.

    So the encoder must tell the classes apart. L_U = Σ_c w_c mean over voxels of (r_c - x p_c)^2
    over all patches: r_c the reconstruction of class c, x the scan without noise, p_c the
    probability of the first decoder as a fixed mask, w_c the share of the scan it covers (as
    released). The second decoder has no skips, which would hand the scan through. Our reading: one
    reconstruction a class (published: foreground and background), both tasks in one step, and a
    mask that is fixed for the encoder too. The code compares the reconstruction of a labelled scan
    with an unlabelled one; ours does not.

    option  published  ours  why
    weight  -          0.1   the code alternates the tasks, the second at a tenth of the rate
    rampup  -          0.0   no ramp in the code
    """

    name, title, year = "mtc", "MTC", 2019
    paper = "Chen et al., MICCAI 2019, arXiv:1907.12303"
    ideas = ("consistency",)
    fidelity = "reconstruction"
    networks = {"student": Network(heads={"reconstruction": Head(skips=False)})}

    rampup: Fraction = 0.0

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        student = outs["student"].whole
        mask = student.logits.detach().float().softmax(1)
        target = torch.cat([batch.x_l, batch.unlabelled]) * mask
        difference = student.heads["reconstruction"].float() - target
        voxels = (0, 2, 3, 4)
        return Term((mask.mean(voxels) * difference.square().mean(voxels)).sum())
