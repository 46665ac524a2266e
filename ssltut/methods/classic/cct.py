"""Cross-consistency training (Ouali et al. 2020), our reading for 3D."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ssltut.data.batch import Batch
from ssltut.methods.contract import PARTS, Consistency, Nets, Role, Term
from ssltut.methods.parts.perturb import (
    channel_dropout,
    feature_drop,
    feature_noise,
    hide_context,
    hide_objects,
)
from ssltut.nets.base import Out
from ssltut.nets.heads import Head

PERTURBATIONS = {
    "noise": feature_noise,
    "drop": feature_drop,
    "dropout": channel_dropout,
    "objects": hide_objects,
    "context": hide_context,
}


@dataclass(frozen=True, kw_only=True)
class CCT(Consistency):
    """Auxiliary decoders see the encoder's maps perturbed, and must say what the main decoder says
    of them as they are.

    L_U = mean over the decoders of mean over voxels of Σ_c (p_k - p)^2 on unlabelled patches, p
    detached: the main decoder learns from labels, the auxiliary ones from consistency, the encoder
    from both. Weight 30/21 ramp(t / (0.1 T)): the paper's 30 belongs to a mean over 21 classes, and
    so pulls as hard whatever their number. Our reading: five decoders, one a perturbation (noise,
    feature drop, channel dropout, hidden objects, hidden context) where the paper has up to six of
    each, and adversarial noise and cut-outs; its network has no skips, ours does, so every map of
    the encoder is perturbed; Adam.
    """

    name, title, year = "cct", "CCT", 2020
    paper = "Ouali et al., CVPR 2020, arXiv:2003.09005"
    ideas = ("consistency",)
    exact = False
    roles: ClassVar = {"student": Role(heads={name: Head() for name in PERTURBATIONS})}

    weight: float = 30 / 21
    rampup: float = 0.1

    def see(
        self,
        batch: Batch,
        nets: Nets,
        parts: Sequence[str] = PARTS,
        role: str = "student",
        **options,
    ) -> Out:
        """The auxiliary decoders see the unlabelled patches alone."""
        if parts != PARTS:
            return super().see(batch, nets, parts, role)
        n, draws = (
            len(batch.x_l),
            {name: batch.generator("perturb", name) for name in PERTURBATIONS},
        )
        return super().see(
            batch,
            nets,
            perturb=lambda name, f, z: PERTURBATIONS[name](f[n:], z[n:], draws[name]),
            **options,
        )

    def unlabelled(self, batch: Batch, nets: Nets, outs: Mapping[str, Out]) -> Term:
        out = outs["student"]
        target = out.logits[len(batch.x_l) :].detach().float().softmax(1)
        return Term(
            sum((z.float().softmax(1) - target).square().sum(1).mean() for z in out.heads.values())
            / len(out.heads)
        )
