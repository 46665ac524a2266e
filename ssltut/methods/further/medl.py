"""Mutual evidential deep learning (He et al. 2024)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import PARTS, Method, Nets, Network, Progress, Term, Terms
from ssltut.methods.losses import dice_loss, supervised_loss
from ssltut.methods.parts.evidence import (
    Opinion,
    dirichlet,
    fisher_loss,
    fuse,
    opinion,
    rank,
    reliability,
)
from ssltut.methods.schedules import ramp


class MEDL(Method):
    """Two different networks say what they know and how much; both learn from what they know
    together, sure voxels first.

    α = exp(z) + 1 (``parts.evidence``); the opinions of the two are fused. For each network, with ω
    the curriculum, R the reliability:
      supervised  CE + Dice on labelled patches         pseudo    R (CE + Dice) against the fused
                  class on unlabelled ones
      curriculum  ω (-log α_y / S) on labelled patches  evidence  ω (Fisher-weighted error -
                  det_weight log|I(α)|), weight ramp(t/T)
    ω = Ξ tanh(ψ ζ) + 1, ψ in [-1, 1] the rank of 0.5 u + 0.5 u_fused (-1 the surest voxel), ζ =
    2t/T - 1: sure voxels count more at first, unsure ones at the end. Prediction: mean of α/S of
    both. Unpublished, decided here: exp as evidence; CE and Dice on the softmax of z (the shares of
    the belief); R = exp(-(u + H)), H in bits, as the printed formula is ambiguous; the labelled
    ω-loss; Ξ; det_weight. Departures: the first network is that of the configuration (V-Net in the
    paper); t/T for whole epochs; Adam.

    weight, curriculum, evidence  of the terms of these names
    xi                            Ξ, how far ω leaves 1
    """

    name, title, year = "medl", "MEDL", 2024
    paper = "He et al., BIBM 2024, arXiv:2505.12418"
    ideas = ("pseudo-labels", "evidence")
    networks = {"student": Network(), "second": Network(arch="resnet")}

    weight: float = 1.0
    curriculum: float = 1.0
    evidence: float = 1.0
    xi: float = 0.5
    det_weight: float = 0.05

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> None:
        """All passes are in ``terms``."""

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        parts = (
            PARTS if batch.x_u is not None and any(self.heights(progress).values()) else PARTS[:1]
        )
        return self.all_terms(
            batch,
            progress,
            [self.see(batch, nets, parts, role).whole.logits for role in self.networks],
        )

    def heights(self, progress: Progress) -> dict[str, float]:
        """The weights of the three terms beside the supervised ones, by name."""
        return {
            "pseudo": self.weight,
            "curriculum": self.curriculum,
            "evidence": self.evidence * ramp(progress.frac),
        }

    def all_terms(self, batch: Batch, progress: Progress, logits: list[Tensor]) -> dict[str, Term]:
        """All terms from the logits of the two networks: of the labelled patches alone, or of these
        and then the unlabelled ones.
        """
        on, n = self.heights(progress), len(batch.x_l)
        terms = {
            name: Term(supervised_loss(z[:n], batch.y_l))
            for name, z in zip(("supervised", "second supervised"), logits, strict=False)
        }
        if len(logits[0]) > n:
            alphas = [dirichlet(z) for z in logits]
            fused, weights = self.know(alphas, n, progress)
            label, trust = fused.belief[n:].argmax(1), reliability(fused)[n:]
            terms["pseudo"] = Term(
                sum(weighted(z[n:], label, trust) for z in logits),
                on["pseudo"],
                trust.mean().item(),
            )
            terms["curriculum"] = Term(
                sum(
                    (w[:n] * surprise(a[:n], batch.y_l)).mean()
                    for a, w in zip(alphas, weights, strict=False)
                ),
                on["curriculum"],
            )
            terms["evidence"] = Term(
                sum(
                    (w[n:] * fisher_loss(a[n:], label, self.det_weight)).mean()
                    for a, w in zip(alphas, weights, strict=False)
                ),
                on["evidence"],
            )
        return terms

    @torch.no_grad()
    def know(
        self, alphas: list[Tensor], n: int, progress: Progress
    ) -> tuple[Opinion, list[Tensor]]:
        """What both know together, and ω (B, X, Y, Z) of each; labelled (the first ``n``) and
        unlabelled voxels are ranked apart.
        """
        opinions = [opinion(a) for a in alphas]
        fused, weights = fuse(*opinions), []
        for one in opinions:
            unsure = 0.5 * one.uncertainty + 0.5 * fused.uncertainty
            weights.append(
                torch.cat([self.omega(rank(part), progress) for part in (unsure[:n], unsure[n:])])
            )
        return fused, weights

    def omega(self, psi: Tensor, progress: Progress) -> Tensor:
        return self.xi * torch.tanh(psi * (2.0 * progress.frac - 1.0)) + 1.0

    @torch.no_grad()
    def predict(self, nets: Nets, x: Tensor) -> Tensor:
        alphas = [dirichlet(nets[role](x).logits) for role in self.networks]
        return sum(a / a.sum(1, keepdim=True) for a in alphas) / len(alphas)


def weighted(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy + Dice with a weight a voxel (B, X, Y, Z)."""
    return (weight * F.cross_entropy(logits.float(), target, reduction="none")).mean() + dice_loss(
        logits, target, weight
    )


def surprise(alpha: Tensor, target: Tensor) -> Tensor:
    """-log of the expected probability α/S of the true class, (B, X, Y, Z) in nats."""
    return alpha.sum(1).log() - alpha.gather(1, target[:, None])[:, 0].log()
