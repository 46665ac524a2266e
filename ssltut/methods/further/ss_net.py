"""Smoothness and class separation, SS-Net (Wu et al. 2022)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.contract import PARTS, Method, Nets, Progress, Term, Terms, supervised
from ssltut.methods.losses import supervised_loss
from ssltut.methods.matching.primitives import surface_shell, voxel_vectors
from ssltut.methods.parts.adversarial import adversarial_direction, change, frozen_averages
from ssltut.methods.parts.memory import ReferenceMemory
from ssltut.methods.schedules import ramp
from ssltut.nets.base import Out, SegNet
from ssltut.nets.modes import eval_mode
from ssltut.nets.precision import full_precision

WIDTH = 32


def scorer() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, 1))


def weights(score: nn.Module, vectors: Tensor) -> Tensor:
    """(N,) sigmoid scores of fixed vectors, rescaled to a mean of 1."""
    found = F.logsigmoid(score(vectors.detach()).float())[:, 0]
    return len(found) * found.softmax(
        0
    )  # as sigmoid / mean, also where every sigmoid is 0 in float32


@full_precision
def weighted_distance(vectors: Tensor, w: Tensor, memory: Tensor, v: Tensor) -> Tensor:
    """Mean over all pairs of w_i v_j (1 - cos(f_i, m_j)): vectors (N, D), w (N,), memory (M, D), v
    (M,).
    """
    cosine = F.normalize(vectors.float(), dim=1) @ F.normalize(memory, dim=1).T
    return (w[:, None] * v * (1.0 - cosine)).mean()


class Separator(nn.Module):
    """What the voxel features (N, D) pass through, and the memory of the best of every class."""

    def __init__(self, channels: int, n_classes: int, size: int) -> None:
        super().__init__()
        self.project, self.predict = (
            nn.Sequential(
                nn.Linear(c, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)
            )
            for c in (channels, WIDTH)
        )
        self.feature_score, self.memory_score = (
            nn.ModuleList(scorer() for _ in range(n_classes)) for _ in range(2)
        )
        self.memory = ReferenceMemory(n_classes, size, WIDTH)

    @torch.no_grad()
    def remember(self, vectors: Tensor, labels: Tensor, highest: bool) -> None:
        """Of features (N, D) that are known to be right, each class keeps those with the highest
        (or lowest) score.
        """
        if not len(vectors):
            return
        with eval_mode(self):
            found = self.project(vectors).float()
        for c in labels.unique().tolist():
            own = found[labels == c]
            best = self.feature_score[c](own)[:, 0].argsort(descending=highest)[: self.memory.size]
            self.memory.store(own[best], labels.new_full((len(best),), c))

    def distance(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """L_contr of predicted features (N, 32): their weighted distance to the memory of their
        class, averaged over the classes.
        """
        remembered, classes = self.memory.recall()
        total = vectors.sum() * 0.0
        for c, (feature, memory) in enumerate(
            zip(self.feature_score, self.memory_score, strict=True)
        ):
            own, kept = vectors[labels == c], remembered[classes == c]
            if len(own) and len(kept):
                total = total + weighted_distance(
                    own, weights(feature, own), kept, weights(memory, kept)
                )
        return total / len(self.feature_score)


class SSNet(Method):
    """The worst small change of a scan must not change its segmentation, and every voxel must lie
    near the best of its class.

    L = L_S + λ (L_LDS + 0.1 (L_contr of labelled + of unlabelled voxels)), λ = ramp(t / (0.4 T)).
      LDS    soft Dice loss of p(x + ε d) against p(x), fixed, over all patches; d by one step of
             the power iteration from x + ε random
      contr  mean of w_i v_j (1 - cos(predict(project(f_i)), m_j)) over the features f of a class
             (its label, or the student's for unlabelled voxels) and the 32 vectors m of its memory,
             w and v learned scores with mean 1; classes averaged
    The memory takes, every step, the best scored labelled voxels that are classified correctly.
    Departures: ε is given a voxel, 10 over the square root of the published 112 x 112 x 80 voxels,
    so that it does not depend on the patch; at most 2,000 voxels a class, those of the background
    within ``band`` voxels of a surface; the background has a memory (the released filter leaves it
    empty); the memory keeps the highest scores, as the paper says, and not the lowest, as its code
    does (``keep``); the clean pass is that of the step; cross-entropy + Dice where the 3D code has
    Dice alone; Adam.

    radius  ε / sqrt(voxels), in units of the normalised image
    """

    name, title, year = "ss_net", "SS-Net", 2022
    paper = "Wu et al., MICCAI 2022, arXiv:2203.01324"
    ideas = ("consistency", "prototypes")

    weight: float = 1.0
    rampup: float = 0.4
    radius: float = 0.01
    contrast: float = 0.1
    memory: int = 32
    voxels: int = 2000
    band: int = 2
    keep: str = "highest"

    def __post_init__(self) -> None:
        if self.keep not in ("highest", "lowest"):
            raise ConfigError(
                f"keep is {self.keep!r}", where=self.name, fix="use highest or lowest"
            )

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        return {"separator": Separator(student.classifier.in_channels, n_classes, self.memory)}

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> None:
        """All passes are in ``terms``."""

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        if batch.x_u is None or not self.weight:
            return {"supervised": supervised(self.see(batch, nets, PARTS[:1]), batch)}
        out, rise = self.see(batch, nets).whole, self.weight * ramp(progress.frac / self.rampup)
        return {
            "supervised": Term(supervised_loss(out.logits[: len(batch.x_l)], batch.y_l)),
            "smoothness": Term(self.smoothness(batch, nets, out), rise),
            "separation": Term(self.separation(batch, nets, out), self.contrast * rise),
        }

    def smoothness(self, batch: Batch, nets: Nets, out: Out) -> Tensor:
        p = out.logits.detach().float().softmax(1)
        with frozen_averages(nets["student"]):
            x, worst = self.attack(batch, nets, p)
            return change(nets["student"], x + worst, p)

    def attack(self, batch: Batch, nets: Nets, p: Tensor) -> tuple[Tensor, Tensor]:
        """What the student sees of all patches (B, 1, X, Y, Z), and the change of it that moves its
        probabilities ``p`` most.
        """
        x = torch.cat([self.view(batch, part) for part in PARTS])
        length = self.radius * math.sqrt(x[0].numel())
        return x, length * adversarial_direction(
            nets["student"], x, p, length, batch.generator("adversarial")
        )

    def separation(self, batch: Batch, nets: Nets, out: Out) -> Tensor:
        guess, separator, n = out.logits.argmax(1), nets["separator"], batch.y_l.numel()
        label = torch.cat([batch.y_l, guess[len(batch.y_l) :]])
        index = self.draw_voxels(batch, label)
        if len(index) < 2:  # batch norm needs two; there is neither a surface nor a foreground
            return out.logits.sum() * 0.0
        vectors, y = voxel_vectors(out.feats["embedding"])[index], label.flatten()[index]
        known = index < n
        right = known & (guess.flatten()[index] == y)
        separator.remember(vectors[right], y[right], self.keep == "highest")
        found = separator.predict(separator.project(vectors))
        return separator.distance(found[known], y[known]) + separator.distance(
            found[~known], y[~known]
        )

    def draw_voxels(self, batch: Batch, label: Tensor) -> Tensor:
        """Positions in the flattened ``label`` (B, X, Y, Z): up to ``voxels`` a class of the
        labelled and of the unlabelled patches.
        """
        draws, n, taken = batch.generator("voxels"), batch.y_l.numel(), []
        usable = ((label > 0) | surface_shell(label, self.band)).flatten()
        for c in range(batch.n_classes):
            found = ((label.flatten() == c) & usable).nonzero()[:, 0]
            for part in (found[found < n], found[found >= n]):
                taken.append(
                    part[
                        torch.randperm(len(part), generator=draws, device=part.device)[
                            : self.voxels
                        ]
                    ]
                )
        return torch.cat(taken)
