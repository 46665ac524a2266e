"""FixMatch (Sohn et al. 2020) on voxels."""

from typing import Literal

import torch
from torch import Tensor

from ssltut.data.batch import Batch
from ssltut.methods.contract import Consistency, Nets, Outs, Part, Term
from ssltut.methods.losses import dice_loss, masked_cross_entropy
from ssltut.methods.parts.perturb import strong_view
from ssltut.nets.modes import eval_mode
from ssltut.options import Fraction, NotNegative


class FixMatch(Consistency):
    """The student must predict on a strong view what it is sure of on a weak one.

    Term "consistency": 1[max p_weak >= 0.95] CE(z_strong, argmax p_weak), averaged over all voxels;
    weight 1, no ramp, as the share of sure voxels rises by itself. Departures: an image has one
    label, a patch one a voxel, so views must not move voxels: weak is the common augmentation and
    noise, strong adds contrast, brightness, more noise and a cut-out box (ours, for RandAugment);
    the weak pass runs in eval mode; the student predicts, not an average of it. The code many
    papers compare with (SSL4MIS) keeps voxels below its threshold as background; that is not
    offered.

    confidence  0.95 (the paper); SSL4MIS 0.8
    loss        "ce" (the paper) or "ce_dice" (SSL4MIS, whose weight is 0.1 with ``rampup=1.0``)
    """

    name, title, year = "fixmatch", "FixMatch", 2020
    paper = "Sohn et al., NeurIPS 2020, arXiv:2001.07685"
    ideas = ("consistency", "pseudo-labels", "evidence")

    weight: NotNegative = 1.0
    rampup: Fraction = 0.0
    confidence: Fraction = 0.95
    loss: Literal["ce", "ce_dice"] = "ce"
    sigma_strong: NotNegative = 0.1

    def view(self, batch: Batch, part: Part) -> Tensor:
        """The student learns from strong views of unlabelled patches."""
        if part == "labelled":
            return super().view(batch, part)
        strong = strong_view(batch.unlabelled, batch.generator("strong"))
        return batch.noise(self.sigma_strong, "strong")(strong)

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        student = nets["student"]
        with torch.no_grad(), eval_mode(student):
            weak = student(super().view(batch, "unlabelled")).logits.float().softmax(1)
        confidence, label = weak.max(1)
        mask = confidence >= self.confidence
        logits = outs["student"].unlabelled.logits
        value = masked_cross_entropy(logits, label, mask, "all")
        if self.loss == "ce_dice":
            value = value + dice_loss(logits, label, mask)
        return Term(value, share=mask.float().mean().item())
