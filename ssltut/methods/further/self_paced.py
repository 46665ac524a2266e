"""Self-paced contrastive learning with meta-labels (Peng et al. 2021)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.contract import (
    PARTS,
    Method,
    NetOutput,
    Nets,
    Outs,
    Plan,
    Progress,
    Term,
    Terms,
)
from ssltut.methods.parts.perturb import strong_view
from ssltut.nets.base import SegNet
from ssltut.nets.precision import full_precision
from ssltut.options import Count, Fraction, NotNegative, Positive

# Of each meta-label its weight, and its first and last age.
META = {"position": (1.0, 5.0, 60.0), "patient": (0.1, 3.5, 50.0), "side": (0.1, 2.0, 50.0)}
WIDTH = 256


def meta_label(kind: str, batch: Batch, bins: int) -> Tensor:
    """(B,) a number for the kind of place of each patch, the labelled ones first."""
    locations = batch.locations_l + batch.locations_u
    if kind == "position":  # along the body, foot to head
        heights = [location.centre[2] for location in locations]
        return torch.tensor([min(int(height * bins), bins - 1) for height in heights])
    values = [getattr(location, kind) for location in locations]
    return torch.tensor([values.index(value) for value in values])


@full_precision
def pair_losses(z: Tensor, temperature: float) -> Tensor:
    """(M, M) l_ij = -log exp(z_i z_j / τ) / Σ_{a≠i} exp(z_i z_a / τ), infinite at i = j."""
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    similarity = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    return similarity.logsumexp(1, keepdim=True) - similarity


def self_paced_weights(losses: Tensor, age: float, kind: str) -> Tensor:
    """The weights w in [0, 1] that minimise w l + R(w), with the age γ.

    "hard" 1[l <= γ] (R = -γ w), "linear" max(0, 1 - l / γ) (R = γ (w² / 2 - w)).
    """
    losses = losses.detach()
    if kind == "hard":
        return (losses <= age).to(losses.dtype)
    return (1.0 - losses / age).clamp(min=0.0)


class SelfPaced(Method):
    """Patches from the same place must look alike to the encoder, the easy pairs first.

    For each meta-label k (position along the body, patient, body side), over the embeddings of two
    views of every patch:
      L_k = mean over i, then over the j with the same meta-label, of w_ij l_ij
    w = max(0, 1 - l / γ) is fixed in the gradient, and γ grows from γ_0 to γ_1 with the root of the
    fraction of training, so that ever harder pairs count.
    Embeddings: the bottleneck's mean over the patch, through an MLP to 256 numbers of length 1; τ =
    0.07. First the encoder learns from Σ λ_k L_k alone; then L = L_S + Σ λ_k L_k. λ = 1, 0.1, 0.1
    and γ from 5 to 60, 3.5 to 50, 2 to 50, one of the published searches. Departures: body side in
    place of the cardiac phase; pre-training is a third of the run (80 of 140 epochs published,
    whose batches hold ten scans and one slice of every position; ours random patches, ``patches``
    of them unlabelled); an MLP a meta-label; views move no voxel (``strong_view`` is the second),
    so nothing is re-aligned; γ grows over the whole run; the constant R(w) is left out; Adam.

    bins     positions along the scan: 8 for prostate and heart in the paper
    weights  "linear" or "hard"
    correct  divide L_k by the mean weight
    """

    name, title, year = "self_paced", "self-paced contrast", 2021
    paper = "Peng et al., NeurIPS 2021, arXiv:2107.13741"
    fidelity = "adapted"
    ideas = ("contrast", "other data")
    loss_weights = ("weight",)

    weight: NotNegative = 1.0
    use: tuple[Literal["position", "patient", "side"], ...] = ("position", "patient", "side")
    bins: Count = 8
    weights: Literal["linear", "hard"] = "linear"
    correct: bool = False
    pretrain: Fraction = 1 / 3
    patches: Count = 6
    temperature: Positive = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.use:
            fix = f"choose among {', '.join(META)}"
            raise ConfigError("use is empty", where=self.name, fix=fix)

    def plan(self, progress: Progress, default: Plan) -> Plan:
        if progress.frac < self.pretrain:
            return Plan(default.labelled, max(default.unlabelled, self.patches))
        return default

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        channels = student.classifier.in_channels * student.factor
        layers: dict[str, nn.Module] = {
            kind: nn.Sequential(nn.Linear(channels, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
            for kind in self.use
        }
        return {"projector": nn.ModuleDict(layers)}

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        """Two views of all patches in one pass, through the encoder alone in the first stage."""
        student = nets["student"]
        x = torch.cat([*(self.view(batch, part) for part in PARTS), self.second_view(batch)])
        if progress.frac < self.pretrain:
            return {"bottleneck": student.encode(x)[-1]}
        out = student(x)
        return {"student": NetOutput(out, len(batch.x_l)), "bottleneck": out.feats["bottleneck"]}

    def second_view(self, batch: Batch) -> Tensor:
        x = strong_view(torch.cat([batch.x_l, batch.unlabelled]), batch.generator("second"))
        return batch.noise(self.sigma_student, "second")(x)

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        terms = self.labelled(batch, outs) if "student" in outs else {}
        pooled = outs["bottleneck"].float().mean((2, 3, 4))
        for kind in self.use:
            same, losses, weights = self.pairs(kind, pooled, batch, nets, progress)
            counted = torch.zeros_like(same, dtype=losses.dtype)
            counted = counted.masked_scatter(same, weights * losses)
            loss = (counted.sum(1) / same.sum(1)).mean()
            if self.correct:
                loss = loss / weights.mean().clamp(min=1e-6)
            terms[kind] = Term(loss, self.weight * META[kind][0], weights.mean().item())
        return terms

    def pairs(
        self, kind: str, pooled: Tensor, batch: Batch, nets: Nets, progress: Progress
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Which pairs of views have one meta-label (2B, 2B), and their losses, weights (P,)."""
        label = meta_label(kind, batch, self.bins).to(pooled.device).repeat(2)
        itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
        same = (label[:, None] == label) & ~itself
        z = F.normalize(nets["projector"][kind](pooled).float(), dim=1)
        losses = pair_losses(z, self.temperature)[same]
        return same, losses, self_paced_weights(losses, age_at(kind, progress), self.weights)


def age_at(kind: str, progress: Progress) -> float:
    """γ of this step."""
    _, first, last = META[kind]
    return first + (last - first) * math.sqrt(progress.frac)
