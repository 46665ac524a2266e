"""Complementary competition and contrastive selection, C3S3 (He et al. 2025)."""

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import Method, Nets, Network, Outs, Progress, Term, Terms
from ssltut.methods.losses import dice_loss, mean_of, sharpen, sum_of
from ssltut.methods.matching.primitives import voxel_vectors
from ssltut.methods.schedules import ramp
from ssltut.nets.base import Out
from ssltut.nets.heads import Head
from ssltut.nets.precision import full_precision
from ssltut.options import Count, Fraction, NotNegative, Positive

PROJECTION = {"projection": Head(level=0, project=64)}
# Shorter vectors count as this long. New networks give some of zeros, where the gradient of a
# cosine is a million times that of the labels, and Adam would remember it.
SHORT = 1e-2
Views = tuple[Out, ...]  # of one network: what it gives for each view of all patches
Fits = list[tuple[Tensor, Tensor]]  # of one network: cross-entropy and Dice loss of each view


class C3S3(Method):
    """Of two different networks, the one that fits the labelled patches better teaches the other.

    Each network sees every patch in two views, under other noise and dropout. Terms:
      supervised   of each network: mean over the views of CE + Dice on labelled patches
      agreement    of each network: 1 - cos of the logits of its two views, along the classes
      competition  the winner has the least ce_share Σ CE + (1 - ce_share) Σ Dice over the views;
                   the loser learns Σ over the views of (p - sharpened p of the winner)^2 on
                   unlabelled patches; weight ramp(t / (rampup T))
      contrast     Σ of L_IUC (``iuc_loss``) of both networks' projected embeddings, four view pairs
    Prediction: mean of both.

    option       published   ours  why
    weight       0.1 or 0.5  0.1   left atrium or pancreas
    rampup       2.4         2.4   released: 6,000 steps, of which 2,500 are trained
    temperature  0.1         0.1
    ce_share     0.8 or 0.5  0.8   left atrium or pancreas
    agreement    1.0         1.0
    contrast     1.0         0.1   released: in the losses of both networks, so 2 for each; here
                                   at 1 its gradient starts at 15 times that of the labels, and
                                   validation Dice after 300 steps is 0.02 (at 0.1: 0.29)
    tau          0.1         0.1
    voxels       all         4096  drawn in each step; L_IUC is near 2 ln N, a large N moves little

    Ours: two noises (released: the same crop twice, so that dropout alone differs); cosines along
    the classes (released: along an axis of space), of vectors that count as no shorter than
    ``SHORT``; L_IUC a class, their mean; the first network is that of the configuration (V-Net).
    """

    name, title, year = "c3s3", "C3S3", 2025
    paper = "He et al., ICME 2025, arXiv:2506.07368"
    fidelity = "adapted"
    ideas = ("consistency", "pseudo-labels", "contrast")
    loss_weights = ("weight", "agreement", "contrast")
    networks = {
        "student": Network(heads=PROJECTION),
        "rival": Network(heads=PROJECTION, arch="resnet"),
    }

    weight: NotNegative = 0.1
    rampup: Positive = 2.4
    temperature: Positive = 0.1
    ce_share: Fraction = 0.8
    agreement: NotNegative = 1.0
    contrast: NotNegative = 0.1
    tau: Positive = 0.1
    voxels: Count = 4096

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> dict[str, Views]:
        """Two views of all patches in one pass a network."""
        x = torch.cat([self.patches(batch), self.patches(batch, "second view")])
        outs = {role: nets[role](x) for role in self.networks}
        return {role: out.split(len(x) // 2) for role, out in outs.items()}

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        fits = {role: fit(views, batch.y_l) for role, views in outs.items()}
        terms = {}
        for role, name in (("student", "supervised"), ("rival", "rival supervised")):
            terms[name] = Term(mean_of([ce + dice for ce, dice in fits[role]]))
        rise = ramp(progress.frac / self.rampup)
        taught = self.competition(outs, fits, len(batch.x_l))
        terms["competition"] = Term(taught, self.weight * rise)
        distances = []
        for views in outs.values():
            first, second = (view.logits.float() for view in views)
            distances.append(1.0 - F.cosine_similarity(first, second, eps=SHORT).mean())
        terms["agreement"] = Term(sum_of(distances), self.agreement)
        terms["contrast"] = Term(self.iuc(batch, nets, outs), self.contrast)
        return terms

    def competition(self, outs: Mapping[str, Views], fits: Mapping[str, Fits], n: int) -> Tensor:
        """What the loser learns from the winner, on the patches after the ``n`` labelled ones."""
        winner, loser = self.compete(fits)
        losses = []
        for taught, teacher in zip(outs[loser], outs[winner], strict=True):
            p = taught.logits[n:].float().softmax(1)
            target = sharpen(teacher.logits[n:].detach(), self.temperature)
            losses.append((p - target).square().mean())
        return sum_of(losses)

    def compete(self, fits: Mapping[str, Fits]) -> tuple[str, str]:
        """The role that wins and the one that loses; the first wins a draw."""
        share = self.ce_share
        losses = {
            role: sum(share * ce.item() + (1.0 - share) * dice.item() for ce, dice in views)
            for role, views in fits.items()
        }
        winner, loser = sorted(losses, key=losses.__getitem__)
        return winner, loser

    def iuc(self, batch: Batch, nets: Nets, outs: Mapping[str, Views]) -> Tensor:
        """Sum of L_IUC over the four pairs of views of both networks, at the same drawn voxels."""
        n_voxels = outs["student"][0].logits[:, 0].numel()
        draws = batch.generator("contrast")
        chosen = torch.randperm(n_voxels, generator=draws, device=batch.x_l.device)[: self.voxels]
        sides = []
        for role, views in outs.items():
            head = nets[role].heads["projection"]
            side = []
            for view in views:
                vectors = voxel_vectors(view.feats["embedding"])[chosen]
                label = view.logits.max(1).indices.flatten()[chosen]
                side.append((project(head, vectors), label))
            sides.append(side)
        losses = [
            iuc_loss(F.cosine_similarity(z, w, eps=SHORT), a, b, batch.n_classes, self.tau)
            for (z, a), (w, b) in product(*sides)
        ]
        return sum_of(losses)

    @torch.no_grad()
    def predict(self, nets: Nets, x: Tensor) -> Tensor:
        return mean_of([nets[role](x).logits.float().softmax(1) for role in self.networks])


def fit(views: Sequence[Out], label: Tensor) -> Fits:
    """Cross-entropy and Dice loss of every view on the labelled patches, which come first in it."""
    labelled = [view.logits[: len(label)] for view in views]
    return [(F.cross_entropy(z.float(), label), dice_loss(z, label)) for z in labelled]


def project(head: nn.Module, vectors: Tensor) -> Tensor:
    """A head of 1x1x1 layers on vectors (N, D) alone -> (N, E)."""
    return head(vectors.T[None, ..., None, None])[0, :, :, 0, 0].T.float()


@full_precision
def iuc_loss(s: Tensor, first: Tensor, second: Tensor, n_classes: int, tau: float) -> Tensor:
    """L_IUC: voxels on which both networks agree are pulled together, the others pushed apart.

    With s (N,) the cosine between the networks at a voxel, for every foreground class I = both
    predict it, U = either does, and the mean of
      -log e^(I s/τ) / (Σ_v e^((1 - I_v) s_v/τ) + e^(I s/τ))
      -log e^((1 - U) s/τ) / (Σ_v e^(U_v s_v/τ) + e^((1 - U) s/τ))
    over voxels, then over classes; near ln N by construction. first, second (N,): their classes.
    """
    s = s / tau
    total = torch.zeros((), device=s.device)
    for c in range(1, n_classes):
        intersection = ((first == c) & (second == c)).float()
        union = ((first == c) | (second == c)).float()
        for kept in (intersection, 1.0 - union):
            others = ((1.0 - kept) * s).logsumexp(0)
            total = total + (torch.logaddexp(others, kept * s) - kept * s).mean()
    return total / (n_classes - 1)
