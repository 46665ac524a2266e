"""Smoothness and class separation, SS-Net (Wu et al. 2022)."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import Method, Nets, Outs, Progress, Term, Terms
from ssltut.methods.further.adversarial import adversarial_direction, change, frozen_averages
from ssltut.methods.losses import sum_of
from ssltut.methods.matching.primitives import balanced, surface_shell, voxel_vectors
from ssltut.methods.parts.memory import ReferenceMemory, after_storing
from ssltut.methods.schedules import ramp
from ssltut.nets.base import SegNet
from ssltut.nets.modes import eval_mode
from ssltut.nets.precision import full_precision
from ssltut.options import Count, Fraction, NotNegative, Positive

WIDTH = 32


class Drawn(NamedTuple):
    """The voxels (N,) that are compared with the memory."""

    places: Tensor  # positions in all patches, flattened; the labelled patches come first
    label: Tensor  # their classes: the label, or the student's own for unlabelled voxels
    vectors: Tensor  # (N, 32) their predicted features
    best: tuple[Tensor, Tensor]  # the features that are remembered (R, 32), their classes (R,)


def mlp(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)
    )


def selector() -> nn.Sequential:
    """Features (N, 32), N > 1, to logits (N, 1); it never predicts, so it keeps no averages."""
    norm = nn.BatchNorm1d(WIDTH, track_running_stats=False)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), norm, nn.LeakyReLU(0.2), nn.Linear(WIDTH, 1))


def mean_one_scores(score: nn.Module, vectors: Tensor) -> Tensor:
    """(N,) sigmoid scores of fixed vectors, divided by their mean."""
    scores = score(vectors.detach()).float().sigmoid()[:, 0]
    return scores / scores.mean()


@full_precision
def weighted_distance(vectors: Tensor, w: Tensor, memory: Tensor, v: Tensor) -> Tensor:
    """Mean of w_i v_j (1 - cos(f_i, m_j)) over all pairs; f (N, D), m (M, D) of length 1."""
    cosine = F.normalize(vectors.float(), dim=1) @ memory.T
    return (w[:, None] * v * (1.0 - cosine)).mean()


class Separator(nn.Module):
    """What the voxel features (N, D) pass through, and the memory of the best of every class."""

    def __init__(self, channels: int, n_classes: int, size: int) -> None:
        super().__init__()
        self.project = mlp(channels)
        self.predict = mlp(WIDTH)
        self.feature_score = nn.ModuleList(selector() for _ in range(n_classes))
        self.memory_score = nn.ModuleList(selector() for _ in range(n_classes))
        self.memory = ReferenceMemory(n_classes, size, WIDTH)

    @torch.no_grad()
    def best(self, vectors: Tensor, labels: Tensor, highest: bool) -> tuple[Tensor, Tensor]:
        """Of features (N, D), projected, those of each class with the highest (or lowest) score."""
        if not len(vectors):
            return vectors.new_zeros((0, WIDTH)), labels
        with eval_mode(self):
            projected = self.project(vectors).float()
        kept = []
        for c in labels.unique().tolist():
            own = (labels == c).nonzero()[:, 0]
            if len(own) > self.memory.size:
                scores = self.feature_score[c](projected[own])[:, 0]
                own = own[scores.argsort(descending=highest)[: self.memory.size]]
            kept.append(own)
        chosen = torch.cat(kept)
        return projected[chosen], labels[chosen]

    def distance(self, vectors: Tensor, labels: Tensor, memory: ReferenceMemory) -> Tensor:
        """L_contr of predicted features (N, 32): their mean weighted distance over the classes.

        As in the released code a class with one feature or one remembered vector counts 0.
        """
        remembered, classes = memory.recall()
        total = vectors.sum() * 0.0
        scores = zip(self.feature_score, self.memory_score, strict=True)
        for c, (feature, kept) in enumerate(scores):
            own, stored = vectors[labels == c], F.normalize(remembered[classes == c], dim=1)
            if len(own) > 1 and len(stored) > 1:
                w = mean_one_scores(feature, own)
                v = mean_one_scores(kept, stored)
                total = total + weighted_distance(own, w, stored, v)
        return total / len(self.feature_score)


class SSNet(Method):
    """The worst small change must change no segmentation; voxels lie near the best of their class.

    L = L_S + λ (L_LDS + c (L_contr of labelled + of unlabelled voxels)), λ = ramp(t / (rampup T))
      LDS    1 - 2 Σ p q / (Σ p + Σ q) over all voxels and classes, p of x + ε d, q of x and fixed;
             d by one step of the power iteration from x + ε random
      contr  mean of w_i v_j (1 - cos(predict(project(f_i)), m_j)) over the features f of a class
             (its label, or the student's for unlabelled voxels) and the vectors m of its memory,
             w and v learned sigmoid scores divided by their mean; classes averaged
    The memory takes, every step, the best scored labelled voxels that are classified correctly.

    option         published  ours       why
    weight         1          1.0
    rampup         0.4        0.4        40 of the 100 epochs of 150 steps
    radius         0.01       0.01       ε a voxel in units of the normalised image: published is 10
                                         over a patch of 112 x 112 x 80 voxels, any patch here
    contrast       0.1        0.1
    memory         32         32         vectors a class; the released code has none for background
    voxels         all        2000       a class and kind of patch: all need memory
    band           -          2          background so near a surface; published: all of it
    keep           highest    highest    scores the memory keeps: the paper; released code: lowest

    Ours too: one pass of the projections over labelled and unlabelled voxels, not one each; the
    clean pass of L_LDS is that of the step; cross-entropy in L_S (released 3D code: Dice alone).
    """

    name, title, year = "ss_net", "SS-Net", 2022
    paper = "Wu et al., MICCAI 2022, arXiv:2203.01324"
    fidelity = "adapted"
    ideas = ("consistency", "prototypes")
    loss_weights = ("weight",)

    weight: NotNegative = 1.0
    rampup: Fraction = 0.4
    radius: Positive = 0.01
    contrast: NotNegative = 0.1
    memory: Count = 32
    voxels: Count = 2000
    band: Count = 2
    keep: Literal["highest", "lowest"] = "highest"

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        return {"separator": Separator(student.classifier.in_channels, n_classes, self.memory)}

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        """One pass of the student, and one of the separator over drawn voxels."""
        outs = super().forward(batch, nets, progress)
        out = outs["student"]
        predicted = out.whole.logits.max(1).indices
        label = torch.cat([batch.y_l, predicted[len(batch.y_l) :]])
        index = self.draw_voxels(batch, label)
        if len(index) < 2:  # batch norm needs two; there is neither a surface nor a foreground
            return outs
        of_voxel = label.flatten()[index]
        right = (index < batch.y_l.numel()) & (predicted.flatten()[index] == of_voxel)
        vectors = voxel_vectors(out.whole.feats["embedding"])[index]
        separator = nets["separator"]
        best = separator.best(vectors[right], of_voxel[right], self.keep == "highest")
        features = separator.predict(separator.project(vectors))
        return outs | {"drawn": Drawn(index, of_voxel, features, best)}

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        rise = self.weight * ramp(progress.frac / self.rampup)
        return self.labelled(batch, outs) | {
            "smoothness": Term(self.smoothness(batch, nets, outs), rise),
            "separation": Term(self.separation(batch, nets, outs), self.contrast * rise),
        }

    def update(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> None:
        super().update(batch, nets, outs, progress)
        if "drawn" in outs:
            nets["separator"].memory.store(*outs["drawn"].best)

    def smoothness(self, batch: Batch, nets: Nets, outs: Outs) -> Tensor:
        p = outs["student"].whole.logits.detach().float().softmax(1)
        with frozen_averages(nets["student"]):
            x, worst = self.attack(batch, nets, p)
            return change(nets["student"], x + worst, p)

    def attack(self, batch: Batch, nets: Nets, p: Tensor) -> tuple[Tensor, Tensor]:
        """What the student sees (B, 1, X, Y, Z), and the change of it that changes ``p`` most."""
        x = self.patches(batch)
        length = self.radius * math.sqrt(x[0].numel())
        draws = batch.generator("adversarial")
        return x, length * adversarial_direction(nets["student"], x, p, length, draws)

    def separation(self, batch: Batch, nets: Nets, outs: Outs) -> Tensor:
        """The distance of the drawn voxels to the memory, which holds the best of this step too."""
        if "drawn" not in outs:
            return outs["student"].whole.logits.sum() * 0.0
        places, label, vectors, best = outs["drawn"]
        separator = nets["separator"]
        memory = after_storing(separator.memory, *best)
        labelled = places < batch.y_l.numel()
        parts = (labelled, ~labelled)
        return sum_of(separator.distance(vectors[part], label[part], memory) for part in parts)

    def draw_voxels(self, batch: Batch, label: Tensor) -> Tensor:
        """Positions in ``label`` (B, X, Y, Z), flattened: ``voxels`` a class and kind of patch."""
        usable = (label > 0) | surface_shell(label, self.band)
        kind = 2 * label  # and 1 more in unlabelled patches
        kind[len(batch.y_l) :] += 1
        kind = kind.masked_fill(~usable, -1).flatten()
        return balanced(kind, 2 * batch.n_classes, self.voxels, batch.generator("voxels"))
