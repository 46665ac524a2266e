"""Ellipse-constrained refinement with mirror symmetry, ERSR (JBHI 2025)."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.contract import Method, NetOutput, Nets, Network, Outs, Plan, Progress, Term
from ssltut.methods.further.shapes import SURE, Shape, find_shape, pieces, regularity, repair
from ssltut.methods.losses import masked_mean, mean_of
from ssltut.methods.parts.memory import ScoreTable, after_storing
from ssltut.methods.parts.perturb import uniform
from ssltut.methods.schedules import ramp
from ssltut.nets.base import SegNet
from ssltut.options import Count, Fraction, NotNegative


class Refined(NamedTuple):
    """Unlabelled patches repaired by shapes, all (B, X, Y, Z) bool but ``partner``."""

    mask: Tensor  # the repaired mask
    used: Tensor  # where a shape fits: slices or whole patches
    region: Tensor  # the mask and its mirror image
    left: Tensor  # the half before the mirror
    partner: Tensor  # (B, X, Y, Z, 3) where the mirror image of a voxel lies, for grid_sample

    def reflect(self, v: Tensor) -> Tensor:
        """(B, 1, X, Y, Z) as seen in the mirror."""
        return F.grid_sample(v, self.partner, padding_mode="border", align_corners=False)

    def complete(self, v: Tensor, half: Tensor, image: Tensor, left: bool) -> Tensor:
        """``v`` with its region redrawn: one side is ``half``, the other ``image`` mirrored."""
        own = (self.left if left else ~self.left)[:, None]
        redrawn = torch.where(own, half, self.reflect(image))
        return torch.where(self.region[:, None], redrawn, v)


class ERSR(Method):
    """The most regular teacher masks are repaired by a fitted shape; mirror images must agree.

    With p the probability of ``target``, which is round:
      shape          MSE of p(x_u) to the repaired mask
      mirror images  mean over the image with its left half mirrored and that with its right one of
                     the MSE of p to p(x_u) mirrored likewise, which learns too
      mirror halves  mean over both of (p - reflected p)^2 left of the mirror, 0 elsewhere
    All have the weight ``weight`` ramp(t), t from the end of the first stage, and are means over
    all voxels of the patches (slices) that count: those whose ``regularity`` is among the lowest
    ρ = 0.5 + 0.5 ramp(t) of the scores stored in this epoch, and in any case the best of the batch.
    Only ``target`` has a prior; the others learn from labels.

    option     published  ours       why
    weight     1.0        2.0        published loss is half of Dice + focal + cross-entropy, ours
                                     the whole of cross-entropy + Dice
    pretrain   -          0.25       share of training on labels alone; published: another run
    ema_decay  0.99       0.99       min(1 - 1 / (step + 1), 0.99), steps of the second stage
    epoch      10 to 50   20         steps until all scores are forgotten: labelled images / 8
    least      0.8        0.8        share of a batch that counts at least, rounded down, but one
    shape      'ellipse'  'ellipse'  slice by slice; "sphere" or "ellipsoid" in 3D (ours)
    mirror     'axis'     'axis'     the longest of the shape; "sagittal" (ours, 3D): halfway
                                     between the two largest pieces, left and right
    target     -          -1         the class that is round, -1 the last; published: the only one
    reach      -          0.0        or how many radii around its thickest end the shape holds
                                     (femoral head on its femur: 1.25)
    overlap    0.0        0.8        least intersection over union of a shape and its mask

    Ours: scores are those of scans, a mean over their slices with target (released: of positions in
    the epoch, empty masks first); a failed fit is left out (released: an empty mask); nothing is
    mirrored outside the mask and its mirror image; changes of intensity in units of normalised
    images; distances are exact and borders reflected (released: zeros beyond them, whose Laplacian
    outweighs that of the mask).
    """

    name, title, year = "ersr", "ERSR (prior on the target class)", 2025
    paper = "ERSR, IEEE Journal of Biomedical and Health Informatics 2025, arXiv:2508.19815"
    fidelity = "adapted"
    ideas = ("consistency", "pseudo-labels", "shape")
    loss_weights = ("weight",)
    networks = {"student": Network(), "teacher": Network(ema_of="student")}

    weight: NotNegative = 2.0
    pretrain: Fraction = 0.25
    ema_decay: Fraction = 0.99
    epoch: Count = 20
    least: Fraction = 0.8
    shape: Literal["ellipse", "sphere", "ellipsoid"] = "ellipse"
    mirror: Literal["axis", "sagittal"] = "axis"
    target: int = -1
    reach: NotNegative = 0.0
    overlap: Fraction = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.shape, self.mirror) == ("ellipse", "sagittal"):
            fix = "use shape sphere or ellipsoid"
            raise ConfigError("a sagittal mirror needs a shape in 3D", where=self.name, fix=fix)

    def plan(self, progress: Progress, default: Plan) -> Plan:
        return default.all_labelled if progress.frac < self.pretrain else default

    def decay_at(self, progress: Progress) -> float:
        step = max(progress.step - self.pretrain * progress.total, 0.0)
        return min(1.0 - 1.0 / (step + 1.0), self.ema_decay)

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        return {"scores": ScoreTable()}

    def rise(self, progress: Progress) -> float:
        """The ramp of everything after the first stage."""
        return ramp((progress.frac - self.pretrain) / (1.0 - self.pretrain))

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        """One pass of the student: labelled and unlabelled patches, and both mirrored ones."""
        refined, scores = self.refine(batch, nets, 0.5 + 0.5 * self.rise(progress))
        images = []
        for left in (True, False):
            half = photometric(batch.unlabelled, batch.generator("half", left))
            image = photometric(batch.unlabelled, batch.generator("mirror image", left))
            images.append(refined.complete(batch.unlabelled, half, image, left))
        mirrored = batch.noise(self.sigma_student, "student", "mirror")(torch.cat(images))
        x = torch.cat([self.patches(batch), mirrored])
        out = NetOutput(nets["student"](x), len(batch.x_l))
        return {"student": out, "refined": refined, "scores": scores}

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> dict[str, Term]:
        student, refined = outs["student"], outs["refined"]
        terms = self.labelled(batch, outs)
        probabilities = student.unlabelled.logits.float().softmax(1)[:, self.target, None]
        p, *mirrored = probabilities.split(len(batch.unlabelled))
        used = refined.used[:, None]
        half = (refined.region & refined.left)[:, None]
        losses = []
        for left, q in zip((True, False), mirrored, strict=True):
            images = (q - refined.complete(p, p, p, left)).square()
            halves = torch.where(half, (q - refined.reflect(q)).square(), 0.0)
            losses.append((masked_mean(images, used), masked_mean(halves, used)))
        images, halves = map(mean_of, zip(*losses, strict=True))
        shape = masked_mean((p - refined.mask[:, None].float()).square(), used)
        weight = self.weight * self.rise(progress)
        share = refined.used.float().mean().item()
        terms["shape"] = Term(shape, weight, share)
        terms["mirror images"] = Term(images, weight, share)
        terms["mirror halves"] = Term(halves, weight, share)
        return terms

    def update(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> None:
        super().update(batch, nets, outs, progress)
        scores, table = outs["scores"], nets["scores"]
        table.store(list(scores), list(scores.values()))
        if (progress.step + 1) % self.epoch == 0:
            table.clear()

    @torch.no_grad()
    def refine(self, batch: Batch, nets: Nets, share: float) -> tuple[Refined, dict[str, float]]:
        """The ``share`` of masks that are most regular, repaired; and all scores, by scan."""
        taught = nets["teacher"](batch.unlabelled).logits.float().softmax(1)
        p = taught[:, self.target].cpu().numpy()
        places = [self.places(i, p.shape[-1]) for i in range(len(p))]
        scores: dict[int, float] = {}
        for i, own in enumerate(places):
            values = [value for at in own if (value := regularity(p[at])) is not None]
            if values:  # a patch without the target is not ranked
                scores[i] = float(np.mean(values))
        stored = {batch.ids_u[i]: score for i, score in scores.items()}
        limit = after_storing(nets["scores"], list(stored), list(stored.values())).limit(share)
        ranked = sorted(scores, key=scores.__getitem__)
        n = max(1, int(self.least * len(p)))
        kept = [i for place, i in enumerate(ranked) if place < n or scores[i] <= limit]
        mask, used, region, left = (np.zeros(p.shape, bool) for _ in range(4))
        itself = np.moveaxis(np.indices(p.shape[1:], np.float64), 0, -1)
        partner = np.broadcast_to(itself, (*p.shape, 3)).copy()
        for at in (at for i in kept for at in places[i]):
            repaired = repair(p[at], self.shapes(p[at]), self.reach)
            if repaired is not None:
                used[at] = True
                mask[at], region[at], left[at], partner[at][..., : p[at].ndim] = repaired
        grid = (2.0 * partner + 1.0) / p.shape[1:] - 1.0
        where = batch.unlabelled.device
        masks = [torch.from_numpy(array).to(where) for array in (mask, used, region, left)]
        grid = torch.from_numpy(grid[..., ::-1].copy()).to(batch.unlabelled)
        return Refined._make([*masks, grid]), stored

    def places(self, i: int, depth: int) -> list[tuple]:
        """Where patch ``i`` lies in a batch of ``depth`` slices: the whole of it, or its slices."""
        if self.shape != "ellipse":
            return [(i,)]
        return [(i, slice(None), slice(None), z) for z in range(depth)]

    def shapes(self, p: np.ndarray) -> list[Shape]:
        """The shape of the sure part of ``p``, or of its two pieces; empty where one fits none."""
        n = 2 if self.mirror == "sagittal" else 1
        shapes = []
        for piece in pieces(p >= SURE, n):
            shape = find_shape(piece, self.shape == "sphere", self.reach, self.overlap)
            if shape is not None:
                shapes.append(shape)
        return shapes if len(shapes) == n else []


def photometric(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each with probability 0.2 in every patch (B, 1, X, Y, Z): four changes of intensity.

    A power of 1.2 to 1.8 over the range of the patch, a shift of up to 0.1, a blur of 3 x 3 voxels
    in the plane, and noise of 0.05.
    """
    each = (len(x), 1, 1, 1, 1)
    gamma, shift, blur, noise = (uniform(generator, each, 0.0, 1.0) < 0.2 for _ in range(4))
    low = x.amin((1, 2, 3, 4), keepdim=True)
    size = (x.amax((1, 2, 3, 4), keepdim=True) - low).clamp(min=1e-6)
    powers = ((x - low) / size).clamp(0.0, 1.0) ** uniform(generator, each, 1.2, 1.8)
    x = torch.where(gamma, low + size * powers, x)
    x = torch.where(shift, x + uniform(generator, each, -0.1, 0.1), x)
    x = torch.where(blur, F.avg_pool3d(x, (3, 3, 1), 1, (1, 1, 0), count_include_pad=False), x)
    drawn = torch.randn(x.shape, generator=generator, device=x.device)
    return torch.where(noise, x + 0.05 * drawn, x)
