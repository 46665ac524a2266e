"""FixMatch (Sohn et al. 2020) on voxels."""

from typing import Literal

import torch

from ssltut.data.batch import Batch
from ssltut.methods.contract import PARTS, Consistency, NetOutput, Nets, Outs, Progress, Term
from ssltut.methods.losses import dice_loss, masked_cross_entropy
from ssltut.methods.parts.perturb import strong_view
from ssltut.options import Fraction, NotNegative


class FixMatch(Consistency):
    """The student must predict on a strong view what it is sure of on a weak one.

    L = L_S + weight mean 1[max p_weak >= confidence] CE(z_strong, argmax p_weak) over all voxels of
    the unlabelled patches. Labelled, strong and weak views pass the student together, in train
    mode. An image has one label, a patch one a voxel, so views must not move voxels: weak is the
    common augmentation and noise; strong, in place of RandAugment, adds contrast, brightness, more
    noise and a cut-out box. The student predicts, not an average of it. SSL4MIS, which many papers
    compare with, learns voxels below its threshold as background; that is not offered.

    option        published  ours  why
    weight        1.0        1.0   SSL4MIS: 0.1 with ``rampup=1.0``
    rampup        0.0        0.0   the share of sure voxels rises by itself
    confidence    0.95       0.95  SSL4MIS: 0.8
    loss          ce         ce    or "ce_dice" (SSL4MIS)
    sigma_strong  -          0.1   noise of the strong view
    """

    name, title, year = "fixmatch", "FixMatch", 2020
    paper = "Sohn et al., NeurIPS 2020, arXiv:2001.07685"
    fidelity = "adapted"
    ideas = ("consistency", "pseudo-labels", "evidence")

    weight: NotNegative = 1.0
    rampup: Fraction = 0.0
    confidence: Fraction = 0.95
    loss: Literal["ce", "ce_dice"] = "ce"
    sigma_strong: NotNegative = 0.1

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        """One pass, so that all views are normalised by the statistics of the same batch."""
        labelled, weak = (self.view(batch, part) for part in PARTS)
        strong = strong_view(batch.unlabelled, batch.generator("strong"))
        strong = batch.noise(self.sigma_strong, "strong")(strong)
        learnt = len(labelled) + len(strong)
        seen, weakly = nets["student"](torch.cat([labelled, strong, weak])).split(learnt)
        weak_p = weakly.logits.detach().float().softmax(1)
        return {"student": NetOutput(seen, len(labelled)), "weak": weak_p}

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        confidence, label = outs["weak"].max(1)
        mask = confidence >= self.confidence
        logits = outs["student"].unlabelled.logits
        value = masked_cross_entropy(logits, label, mask, "all")
        if self.loss == "ce_dice":
            value = value + dice_loss(logits, label, mask)
        return Term(value, share=mask.float().mean().item())
