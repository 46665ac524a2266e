"""Complementary competition and contrastive selection, C3S3 (He et al. 2025)."""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import PARTS, Method, Nets, Network, Progress, Term, Terms
from ssltut.methods.losses import dice_loss
from ssltut.methods.matching.primitives import voxel_vectors
from ssltut.methods.parts.sharpen import sharpen
from ssltut.methods.schedules import ramp
from ssltut.nets.base import Out
from ssltut.nets.heads import Head
from ssltut.nets.precision import full_precision

PROJECTION = {"projection": Head(level=0, project=64)}


class C3S3(Method):
    """Of two different networks, the one that fits the labelled patches better at this step teaches
    the other one.

    Each network sees every patch in two views, under other noise and dropout. Terms:
      supervised   of each network: mean over the views of CE + Dice on labelled patches
      agreement    of each network: 1 - cos of the logits of its two views, along the classes
      competition  the winner has the least 0.8 Σ CE + 0.2 Σ Dice over the views; the loser learns Σ
                   over the views of (p - sharpened p of the winner)^2 on unlabelled patches, T =
                   0.1, weight 0.1 ramp(t / 2.4 T)
      contrast     L_IUC (``contrast``) between projected embeddings of both networks, mean over the
                   four pairs of views
    Prediction: mean of both. Departures: the released loader gives the same crop twice, so that
    dropout alone differed, and its cosine runs along an axis of space; the ramp is that of 6,000
    steps of which 2,500 are trained; L_IUC a class, over drawn voxels of all patches, with a tenth
    of its weight (1), as under Adam it drowned the labels for the first hundreds of steps; the
    first network is that of the configuration (V-Net in the paper); Adam.

    weight     of the competition (0.1 on the left atrium, 0.5 on the pancreas); ce_share 0.8 (there
               0.5)
    agreement, contrast  weights of the terms of these names
    voxels     how many L_IUC compares
    """

    name, title, year = "c3s3", "C3S3", 2025
    paper = "He et al., ICME 2025, arXiv:2506.07368"
    ideas = ("consistency", "pseudo-labels", "contrast")
    networks = {
        "student": Network(heads=PROJECTION),
        "rival": Network(heads=PROJECTION, arch="resnet"),
    }

    weight: float = 0.1
    rampup: float = 2.4
    temperature: float = 0.1
    ce_share: float = 0.8
    agreement: float = 1.0
    contrast: float = 0.1
    tau: float = 0.1
    voxels: int = 4096

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> None:
        """All passes are in ``terms``."""

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        n, parts = (
            len(batch.x_l),
            (
                PARTS
                if batch.x_u is not None and (self.weight or self.agreement or self.contrast)
                else PARTS[:1]
            ),
        )
        x = torch.cat([self.view(batch, part) for part in parts])
        if parts == PARTS:
            x = torch.cat(
                [
                    x,
                    *(
                        batch.noise(self.sigma_student, "second view", part)(p)
                        for part, p in zip(PARTS, (batch.x_l, batch.x_u), strict=False)
                    ),
                ]
            )
        outs = {role: nets[role](x) for role in self.networks}
        seen = {
            role: out.split(len(x) // 2) if parts == PARTS else (out,) for role, out in outs.items()
        }
        fits = {role: fit(views, batch.y_l) for role, views in seen.items()}
        terms = {
            f"{role} supervised".removeprefix("student "): Term(sum(map(sum, found)) / len(found))
            for role, found in fits.items()
        }
        if parts == PARTS:
            winner, loser = self.compete(fits)
            value = sum(
                (
                    mine.logits[n:].float().softmax(1)
                    - sharpen(target.logits[n:].detach(), self.temperature)
                )
                .square()
                .mean()
                for mine, target in zip(seen[loser], seen[winner], strict=False)
            )
            terms["competition"] = Term(value, self.weight * ramp(progress.frac / self.rampup))
            far = sum(
                1.0 - F.cosine_similarity(*(v.logits.float() for v in views)).mean()
                for views in seen.values()
            )
            terms["agreement"] = Term(far, self.agreement)
            terms["contrast"] = Term(self.select(batch, nets, list(seen.values())), self.contrast)
        return terms

    def compete(self, fits: dict[str, list[tuple[Tensor, Tensor]]]) -> tuple[str, str]:
        """The role that wins and the one that loses, from cross-entropy and Dice loss of every
        view; the first wins a draw.
        """
        share = self.ce_share
        losses = {
            role: sum(share * ce.item() + (1.0 - share) * dice.item() for ce, dice in found)
            for role, found in fits.items()
        }
        first, second = sorted(losses, key=losses.get)
        return first, second

    def select(self, batch: Batch, nets: Nets, seen: Sequence[Sequence[Out]]) -> Tensor:
        """Mean of L_IUC over the pairs of a view of one network and a view of the other, at the
        same drawn voxels.
        """
        places = seen[0][0].logits[:, 0].numel()
        chosen = torch.randperm(
            places, generator=batch.generator("contrast"), device=batch.x_l.device
        )[: self.voxels]
        sides = [
            [
                (
                    project(
                        nets[role].heads["projection"],
                        voxel_vectors(view.feats["embedding"])[chosen],
                    ),
                    view.logits.argmax(1).flatten()[chosen],
                )
                for view in views
            ]
            for role, views in zip(self.networks, seen, strict=False)
        ]
        return (
            sum(
                contrast(F.cosine_similarity(z, w), a, b, batch.n_classes, self.tau)
                for (z, a), (w, b) in product(*sides)
            )
            / 4
        )

    @torch.no_grad()
    def predict(self, nets: Nets, x: Tensor) -> Tensor:
        return sum(nets[role](x).logits.float().softmax(1) for role in self.networks) / 2


def fit(views: Sequence[Out], label: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Cross-entropy and Dice loss of every view on the labelled patches, which come first in it."""
    return [
        (F.cross_entropy(z.float(), label), dice_loss(z, label))
        for z in (view.logits[: len(label)] for view in views)
    ]


def project(head: nn.Module, vectors: Tensor) -> Tensor:
    """A head of 1x1x1 layers on vectors (N, D) alone -> (N, E)."""
    return head(vectors.T[None, ..., None, None])[0, :, :, 0, 0].T.float()


@full_precision
def contrast(s: Tensor, first: Tensor, second: Tensor, n_classes: int, tau: float) -> Tensor:
    """L_IUC: voxels on which both networks agree are pulled together, the others are pushed apart;
    near ln N by construction.

    With s (N,) the cosine between the networks at a voxel, for every foreground class I = both
    predict it, U = either does, and the mean of
      -log e^(I s/τ) / (Σ_v e^((1 - I_v) s_v/τ) + e^(I s/τ)) - log e^((1 - U) s/τ) / (Σ_v e^(U_v
      s_v/τ) + e^((1 - U) s/τ))
    over voxels, then over classes. first, second (N,) are the classes the two networks predict.
    """
    s, total = s / tau, 0.0
    for c in range(1, n_classes):
        a, b = first == c, second == c
        for mine in ((a & b).float(), 1.0 - (a | b).float()):
            total = (
                total
                + (torch.logaddexp(((1.0 - mine) * s).logsumexp(0), mine * s) - mine * s).mean()
            )
    return total / (n_classes - 1)
