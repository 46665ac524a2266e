"""Multi-task attention (Chen et al. 2019), called MTC in the table of Xie et al. 2024; our reading."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ssltut.methods.base import Batch, Consistency, Head, Nets, Out, Role, Term


@dataclass(frozen=True, kw_only=True)
class MTC(Consistency):
    """A second decoder redraws the scan, every class by itself, in the places where the first one sees it.

    L_U = mean over voxels and classes of (r_c - x p_c)^2 over all patches, r_c the reconstruction of class c, x the scan without noise, p_c
    the probability of the first decoder, which this teaches too. Our reading: one reconstruction a class (the paper: foreground and
    background), from the bottleneck alone, as skips would hand the scan through; both tasks in one step with weight 0.1 throughout.
    """

    name, title, year = "mtc", "MTC", 2019
    paper = "Chen et al., MICCAI 2019, arXiv:1907.12303"
    exact = False
    roles: ClassVar = {"student": Role(heads={"reconstruction": Head(skips=False)})}

    rampup: float = 0.0

    def unlabelled(self, batch: Batch, nets: Nets, out: Out) -> Term:
        both = out.joined(self.see(batch, nets, "unlabelled", heads=True))
        attended = torch.cat([batch.x_l, batch.x_u]) * both.logits.float().softmax(1)
        return Term((both.heads["reconstruction"].float() - attended).square().mean())
