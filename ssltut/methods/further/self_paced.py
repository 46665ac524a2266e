"""Self-paced contrastive learning with meta-labels (Peng et al. 2021)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.contract import Method, NetOutput, Nets, Outs, Plan, Progress, Term, Terms
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
        return torch.tensor([location.level(bins) for location in locations])
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

    First the encoder learns from Σ λ_k L_k alone; then the network learns from labels alone. For
    each meta-label k (position along the body, patient, body side), over two views of every patch:
      L_k = mean over i, then over the j with the same meta-label, of w_ij l_ij
    w = max(0, 1 - l / γ) is fixed in the gradient, and γ grows from γ_0 to γ_1 with the root of the
    fraction of pre-training, so that ever harder pairs count. Embeddings: the bottleneck's mean
    over the patch, through an MLP to 256 numbers of length 1. λ = 1, 0.1, 0.1 and γ from 5 to 60,
    3.5 to 50, 2 to 50, one of the published searches.

    option       published  ours                             why
    weight       1          1.0
    use          -          ('position', 'patient', 'side')  side in place of the cardiac phase
    bins         8          8                                levels of a scan; published 3 for ACDC
    weights      linear     linear                           hard: 1 where l <= γ
    correct      -          False                            divide L_k by the mean weight (some do)
    pretrain     4/7        1/3                              80 of 140 epochs published; see below
    scans        10         1                                of each kind in a step of pre-training,
                                                             with a patch of every bin
    temperature  0.07       0.07
    joint        False      False                            True: then L_S + Σ λ_k L_k

    The decoder sees labels in 2/3 of the steps. All patches of these are labelled, as in labels
    only: at 2 + 2 patches 8/3 T in all, where labels only has 4 T and other methods 2 T.
    Ours too: an MLP a meta-label; views move no voxel (``strong_view`` is the second), so nothing
    is re-aligned; the constant R(w) is left out.
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
    scans: Count = 1
    temperature: Positive = 0.07
    joint: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.use:
            fix = f"choose among {', '.join(META)}"
            raise ConfigError("use is empty", where=self.name, fix=fix)

    def plan(self, progress: Progress, default: Plan) -> Plan:
        if progress.frac < self.pretrain:
            n = self.scans * self.bins
            return Plan(n, n, bins=self.bins)
        return default if self.joint else default.all_labelled

    def acts(self, batch: Batch, progress: Progress) -> bool:
        """After pre-training it is labels only, unless both are joined."""
        contrasts = self.joint or progress.frac < self.pretrain
        return contrasts and super().acts(batch, progress)

    def age(self, kind: str, progress: Progress) -> float:
        """γ of this step."""
        _, first, last = META[kind]
        length = 1.0 if self.joint else self.pretrain
        done = min(progress.frac / length, 1.0) if length else 1.0
        return first + (last - first) * math.sqrt(done)

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
        x = torch.cat([self.patches(batch), self.second_view(batch)])
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
        return same, losses, self_paced_weights(losses, self.age(kind, progress), self.weights)
