"""Cross-consistency training (Ouali et al. 2020), our reading for 3D."""

import torch
from torch import Tensor

from ssltut.data.batch import Batch
from ssltut.methods.contract import (
    PARTS,
    Consistency,
    NetOutput,
    Nets,
    Network,
    Outs,
    Progress,
    Term,
)
from ssltut.methods.parts.perturb import (
    channel_dropout,
    feature_drop,
    feature_noise,
    hide_context,
    hide_objects,
)
from ssltut.nets.heads import Head

PERTURBATIONS = {
    "noise": feature_noise,
    "drop": feature_drop,
    "dropout": channel_dropout,
    "objects": hide_objects,
    "context": hide_context,
}


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
    networks = {"student": Network(heads={name: Head() for name in PERTURBATIONS})}

    weight: float = 30 / 21
    rampup: float = 0.1

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        """The auxiliary decoders see the unlabelled patches alone."""
        parts = self.parts(batch, progress)
        x, n = torch.cat([self.view(batch, part) for part in parts]), len(batch.x_l)
        if parts != PARTS:
            return {"student": NetOutput(nets["student"](x), n)}
        draws = {name: batch.generator("perturb", name) for name in PERTURBATIONS}

        def perturbed(name: str, feature: Tensor, logits: Tensor) -> Tensor:
            return PERTURBATIONS[name](feature[n:], logits[n:], draws[name])

        return {"student": NetOutput(nets["student"](x, heads=True, perturb=perturbed), n)}

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        out = outs["student"].whole
        target = outs["student"].unlabelled.logits.detach().float().softmax(1)
        return Term(
            sum((z.float().softmax(1) - target).square().sum(1).mean() for z in out.heads.values())
            / len(out.heads)
        )
