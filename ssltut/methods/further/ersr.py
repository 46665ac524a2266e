"""Ellipse-constrained refinement with mirror symmetry, ERSR (JBHI 2025)."""

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.contract import (
    PARTS,
    Method,
    Nets,
    Network,
    Plan,
    Progress,
    Term,
    Terms,
    supervised,
)
from ssltut.methods.losses import masked_mean, supervised_loss
from ssltut.methods.parts.memory import ScoreTable
from ssltut.methods.parts.perturb import photometric
from ssltut.methods.parts.shapes import (
    SURE,
    Shape,
    find_shape,
    mirror_through,
    pieces,
    regularity,
    repair,
)
from ssltut.methods.schedules import ramp
from ssltut.nets.base import SegNet


class Refined(NamedTuple):
    """What a shape says of the unlabelled patches, all (B, X, Y, Z) bool but ``partner`` (B, X, Y,
    Z, 3), ready for grid_sample.

    mask     the repaired mask; used where a shape was found: slices or whole patches
    region   the mask and its mirror image; left the half before the mirror; partner where the
             mirror image of a voxel lies
    """

    mask: Tensor
    used: Tensor
    region: Tensor
    left: Tensor
    partner: Tensor

    def reflect(self, v: Tensor) -> Tensor:
        """(B, 1, X, Y, Z) as seen in the mirror."""
        return F.grid_sample(v, self.partner, padding_mode="border", align_corners=False)

    def complete(self, v: Tensor, half: Tensor, left: bool) -> Tensor:
        """``v`` with its region redrawn: one side from ``half``, the other from that side's mirror
        image; both (B, 1, X, Y, Z).
        """
        own = (self.left if left else ~self.left)[:, None]
        return torch.where(self.region[:, None], torch.where(own, half, self.reflect(half)), v)


class ERSR(Method):
    """Teacher masks of a round organ are ranked by regularity, the best are repaired by a fitted
    shape, and the student must agree with its
    own mirror images.

    With p the probability of ``target``: "shape" is the MSE of p(x_u) to the repaired mask; "mirror
    images" that of p(L) and p(R), the patch with its left or right half mirrored, to p(x_u)
    mirrored likewise; "mirror halves" that of the left and the reflected right half of p(L) and
    p(R). All have the weight ramp(t). The share 0.5 + 0.5 ramp(t) of the patches with the lowest of
    all scans' last scores counts.
    Departures: scores are kept by scan, not by position in the epoch; patches without the target
    are not ranked; a failed fit is left out (released: an empty mask), and so is one that does not
    resemble the mask; half of the mirror terms lies where mask and mirror image are; softmax;
    cross-entropy + Dice; Adam. The published start from a supervised network is the first
    ``pretrain`` of training, as BCP has it.

    shape   "ellipse" slice by slice (published), or in 3D "sphere" or "ellipsoid" (ours)
    mirror  "axis": the longest of the shape; "sagittal" (ours, 3D): halfway between the two largest
            pieces, left and right
    target  the class that is round; -1: the last one
    reach   0, or how many radii around its thickest end the shape holds (femoral head on its femur:
            1.25)
    overlap least intersection over union of the shape and what it was fitted to
    """

    name, title, year = "ersr", "ERSR", 2025
    paper = "ERSR, IEEE Journal of Biomedical and Health Informatics 2025, arXiv:2508.19815"
    ideas = ("consistency", "pseudo-labels", "shape")
    networks = {"student": Network(), "teacher": Network(ema_of="student")}

    weight: float = 1.0
    pretrain: float = 0.25
    ema_decay: float = 0.99
    shape: str = "ellipse"
    mirror: str = "axis"
    target: int = -1
    reach: float = 0.0
    overlap: float = 0.8

    def __post_init__(self) -> None:
        for option, known in (
            ("shape", ("ellipse", "sphere", "ellipsoid")),
            ("mirror", ("axis", "sagittal")),
        ):
            if getattr(self, option) not in known:
                raise ConfigError(
                    f"{option} is {getattr(self, option)!r}",
                    where=self.name,
                    fix=f"use {', '.join(known)}",
                )
        if (self.shape, self.mirror) == ("ellipse", "sagittal"):
            raise ConfigError(
                "a sagittal mirror needs a shape in 3D",
                where=self.name,
                fix="use shape sphere or ellipsoid",
            )

    def plan(self, progress: Progress, default: Plan) -> Plan:
        return Plan(default.labelled, 0) if progress.frac < self.pretrain else default

    def decay_at(self, progress: Progress) -> float:
        return 0.0 if progress.frac < self.pretrain else self.ema_decay

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        return {"scores": ScoreTable()}

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> None:
        """All passes are in ``terms``."""

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        if batch.x_u is None or not self.weight:
            return {"supervised": supervised(self.see(batch, nets, PARTS[:1]), batch)}
        rise = ramp((progress.frac - self.pretrain) / (1.0 - self.pretrain))
        found = self.refine(batch, nets, 0.5 + 0.5 * rise)
        images = [
            found.complete(batch.x_u, photometric(batch.x_u, batch.generator("half", left)), left)
            for left in (True, False)
        ]
        mirrored = batch.noise(self.sigma_student, "student", "mirror")(torch.cat(images))
        x = torch.cat([self.view(batch, "labelled"), self.view(batch, "unlabelled"), mirrored])
        n, logits = len(batch.x_l), nets["student"](x).logits.float()
        p, *seen = logits[n:].softmax(1)[:, self.target, None].split(len(batch.x_u))
        half, used = (found.region & found.left)[:, None], found.used[:, None]
        terms = {
            "shape": masked_mean((p - found.mask[:, None].float()).square(), used),
            "mirror images": 0.0,
            "mirror halves": 0.0,
        }
        for left, q in zip((True, False), seen, strict=True):
            terms["mirror images"] += masked_mean((q - found.complete(p, p, left)).square(), used)
            terms["mirror halves"] += masked_mean((q - found.reflect(q)).square(), half)
        share = found.used.float().mean().item()
        return {"supervised": Term(supervised_loss(logits[:n], batch.y_l))} | {
            name: Term(value, self.weight * rise, share) for name, value in terms.items()
        }

    @torch.no_grad()
    def refine(self, batch: Batch, nets: Nets, share: float) -> Refined:
        """The teacher's masks of the ``share`` of patches that are most regular, repaired by their
        shapes.
        """
        p = nets["teacher"](batch.x_u).logits.float().softmax(1)[:, self.target].cpu().numpy()
        parts = [
            [p[i, ..., z] for z in range(p.shape[-1])] if self.shape == "ellipse" else [p[i]]
            for i in range(len(p))
        ]
        scores = {
            i: np.mean(known)
            for i, part in enumerate(parts)
            if (known := [s for q in part if (s := regularity(q)) is not None])
        }
        nets["scores"].store([batch.ids_u[i] for i in scores], list(scores.values()))
        limit, ranked = nets["scores"].limit(share), sorted(scores, key=scores.get)
        mask, used, region, left = (np.zeros(p.shape, bool) for _ in range(4))
        partner = np.broadcast_to(
            np.moveaxis(np.indices(p.shape[1:], np.float64), 0, -1), (*p.shape, 3)
        ).copy()
        for rank, i in enumerate(ranked):
            for z, q in enumerate(
                parts[i] if rank < int(share * len(p)) or scores[i] <= limit else ()
            ):
                at = (i, slice(None), slice(None), z) if self.shape == "ellipse" else (i,)
                if (answer := self.repaired(q)) is not None:
                    used[at] = True
                    mask[at], region[at], left[at], partner[at][..., : q.ndim] = answer
        grid = (2.0 * partner + 1.0) / p.shape[1:] - 1.0
        device = batch.x_u.device
        return Refined(
            *(torch.from_numpy(a).to(device) for a in (mask, used, region, left)),
            torch.from_numpy(grid[..., ::-1].copy()).to(batch.x_u),
        )

    def repaired(
        self, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
        """Mask, region, left half and partners of one slice or patch ``p`` of probabilities; None
        where no shape fits.
        """
        shapes = self.shapes(p)
        mirror = mirror_through(shapes) if shapes else None
        if mirror is None:
            return None
        mask = repair(p, np.min([shape.squared(p.shape) for shape in shapes], 0), self.reach)
        partner, left = mirror.partners(p.shape)
        there = np.moveaxis(partner, -1, 0)
        inside = (
            (there >= -0.5) & (there <= np.reshape(p.shape, (-1,) + (1,) * p.ndim) - 0.5)
        ).all(0)
        seen = ndimage.map_coordinates(mask.astype(np.uint8), there, order=0, mode="nearest") > 0
        return mask, (mask | seen) & inside, left, partner

    def shapes(self, p: np.ndarray) -> list[Shape]:
        """The shape of the sure part of ``p``, with a sagittal mirror those of its two largest
        pieces; none where one does not fit.
        """
        wanted = 2 if self.mirror == "sagittal" else 1
        found = [
            find_shape(piece, self.shape == "sphere", self.reach, self.overlap)
            for piece in pieces(p >= SURE, wanted)
        ]
        return found if len(found) == wanted and None not in found else []
