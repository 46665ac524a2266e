"""Self-paced contrastive learning with meta-labels (Peng et al. 2021)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.contract import PARTS, Method, Nets, Plan, Progress, Term, Terms, supervised
from ssltut.methods.losses import supervised_loss
from ssltut.methods.parts.perturb import strong_view
from ssltut.nets.base import SegNet
from ssltut.nets.precision import full_precision

META = {
    "position": (1.0, 5.0, 60.0),
    "patient": (0.1, 3.5, 50.0),
    "side": (0.1, 2.0, 50.0),
}  # weight, first and last age
WIDTH = 256


def meta_label(kind: str, batch: Batch, bins: int) -> Tensor:
    """(B,) what the geometry says of the labelled, then the unlabelled patches: the same number is
    the same kind of place.
    """
    places = batch.locations_l + batch.locations_u
    if kind == "position":  # along the body, foot to head
        return torch.tensor([min(int(p.centre[2] * bins), bins - 1) for p in places])
    found = [getattr(p, kind) for p in places]
    return torch.tensor([found.index(f) for f in found])


@full_precision
def pair_losses(z: Tensor, temperature: float) -> Tensor:
    """(M, M) ℓ_ij = -log exp(z_i z_j / τ) / Σ_{a≠i} exp(z_i z_a / τ) of embeddings z (M, D) of
    length 1; the diagonal is infinite.
    """
    near = (z @ z.T / temperature).masked_fill(
        torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf
    )
    return near.logsumexp(1, keepdim=True) - near


def self_paced_weights(losses: Tensor, age: float, kind: str) -> Tensor:
    """The weights in [0, 1] that minimise w ℓ + R(w): "hard" 1[ℓ <= γ] (R = -γ w), "linear" max(0,
    1 - ℓ / γ) (R = γ (w² / 2 - w)).
    """
    losses = losses.detach()
    return (
        (losses <= age).to(losses.dtype) if kind == "hard" else (1.0 - losses / age).clamp(min=0.0)
    )


class SelfPaced(Method):
    """Patches from the same place must look alike to the encoder; of the pairs this says, the easy
    ones come first.

    For each meta-label k (position along the body, patient, body side), over the embeddings of two
    views of every patch:
      L_k = mean over i, then over the j with the same meta-label, of w_ij ℓ_ij; w = max(0, 1 - ℓ /
      γ) is fixed in the gradient, and γ
            grows from γ_0 to γ_1 with the root of the fraction of training, so that ever harder
            pairs count
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
    ideas = ("contrast", "other data")

    weight: float = 1.0
    use: tuple[str, ...] = tuple(META)
    bins: int = 8
    weights: str = "linear"
    correct: bool = False
    pretrain: float = 1 / 3
    patches: int = 6
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if self.weights not in ("linear", "hard"):
            raise ConfigError(
                f"weights is {self.weights!r}", where=self.name, fix="use linear or hard"
            )
        if not self.use or set(self.use) - set(META):
            raise ConfigError(
                f"use is {self.use}", where=self.name, fix=f"choose among {', '.join(META)}"
            )

    def plan(self, progress: Progress, default: Plan) -> Plan:
        return (
            Plan(default.labelled, max(default.unlabelled, self.patches))
            if self.weight and progress.frac < self.pretrain
            else default
        )

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        channels = student.classifier.in_channels * student.factor
        return {
            "projector": nn.ModuleDict(
                {
                    kind: nn.Sequential(
                        nn.Linear(channels, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)
                    )
                    for kind in self.use
                }
            )
        }

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> None:
        """All passes are in ``terms``."""

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        if batch.x_u is None or not self.weight:
            return {"supervised": supervised(self.see(batch, nets, PARTS[:1]), batch)}
        x = torch.cat([*(self.view(batch, part) for part in PARTS), self.second_view(batch)])
        if progress.frac < self.pretrain:
            return self.contrast(nets["student"].encode(x)[-1], batch, nets, progress)
        out, n = nets["student"](x), len(batch.x_l)
        terms = {"supervised": Term(supervised_loss(out.logits[:n], batch.y_l))}
        return terms | self.contrast(out.feats["bottleneck"], batch, nets, progress)

    def second_view(self, batch: Batch) -> Tensor:
        x = strong_view(torch.cat([batch.x_l, batch.x_u]), batch.generator("second"))
        return batch.noise(self.sigma_student, "second")(x)

    def contrast(
        self, bottleneck: Tensor, batch: Batch, nets: Nets, progress: Progress
    ) -> dict[str, Term]:
        """One term a meta-label, from the deepest map (2B, D, X, Y, Z) of both views."""
        pooled, terms = bottleneck.float().mean((2, 3, 4)), {}
        for kind in self.use:
            same, losses, w = self.pairs(kind, pooled, batch, nets, progress)
            rows = same.float()
            value = (
                torch.zeros_like(rows).masked_scatter(same, w * losses).sum(1) / rows.sum(1)
            ).mean()
            value = value / w.mean().clamp(min=1e-6) if self.correct else value
            terms[kind] = Term(value, self.weight * META[kind][0], w.mean().item())
        return terms

    def pairs(
        self, kind: str, pooled: Tensor, batch: Batch, nets: Nets, progress: Progress
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Which pairs of the views (2B, D) have the same meta-label, (2B, 2B) bool; of these P
        pairs the losses and weights, (P,).
        """
        label = meta_label(kind, batch, self.bins).to(pooled.device).repeat(2)
        same = (label[:, None] == label) & ~torch.eye(
            len(label), dtype=torch.bool, device=label.device
        )
        z = F.normalize(nets["projector"][kind](pooled).float(), dim=1)
        losses = pair_losses(z, self.temperature)[same]
        return same, losses, self_paced_weights(losses, age_at(kind, progress), self.weights)


def age_at(kind: str, progress: Progress) -> float:
    """γ of this step."""
    _, first, last = META[kind]
    return first + (last - first) * math.sqrt(progress.frac)
