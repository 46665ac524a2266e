"""Cross-consistency training (Ouali et al. 2020), our reading for 3D."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import Consistency, NetOutput, Nets, Network, Outs, Progress, Term
from ssltut.methods.parts.perturb import uniform
from ssltut.nets.heads import Head
from ssltut.options import Fraction, NotNegative

# Perturbations of an encoder's map f (B, D, X, Y, Z), given the main output's logits.


def feature_noise(f: Tensor, logits: Tensor, generator: torch.Generator) -> Tensor:
    """f + f N, N uniform in [-0.3, 0.3]."""
    return f * (1.0 + uniform(generator, f.shape, -0.3, 0.3)).to(f.dtype)


def feature_drop(f: Tensor, logits: Tensor, generator: torch.Generator) -> Tensor:
    """Without the voxels whose mean over channels exceeds a share U(0.7, 0.9) of the largest."""
    activity = f.mean(1, keepdim=True)
    share = uniform(generator, (len(f), 1, 1, 1, 1), 0.7, 0.9)
    return f * (activity < share * activity.amax((2, 3, 4), keepdim=True))


def channel_dropout(f: Tensor, logits: Tensor, generator: torch.Generator) -> Tensor:
    """Without half of the channels; the others count double."""
    keep = uniform(generator, (*f.shape[:2], 1, 1, 1), 0.0, 1.0) < 0.5
    return f * (2.0 * keep).to(f.dtype)


def foreground(f: Tensor, logits: Tensor) -> Tensor:
    """Where the main output sees any foreground, at the resolution of ``f``."""
    mask = (logits.argmax(1, keepdim=True) > 0).to(f.dtype)
    return F.interpolate(mask, f.shape[2:], mode="nearest")


def hide_objects(f: Tensor, logits: Tensor, generator: torch.Generator) -> Tensor:
    return f * (1.0 - foreground(f, logits))


def hide_context(f: Tensor, logits: Tensor, generator: torch.Generator) -> Tensor:
    return f * foreground(f, logits)


PERTURBATIONS = {
    "noise": feature_noise,
    "drop": feature_drop,
    "dropout": channel_dropout,
    "objects": hide_objects,
    "context": hide_context,
}


class CCT(Consistency):
    """Auxiliary decoders see perturbed encoder maps, and must agree with the main decoder.

    L_U = mean over the decoders of mean over voxels of Σ_c (p_k - p)^2 on unlabelled patches, p
    detached: the main decoder learns from labels, the auxiliary ones from consistency, the encoder
    from both. Our reading: five decoders, one a perturbation (noise, feature drop, channel dropout,
    hidden objects, hidden context) where the paper has up to six of each, and adversarial noise and
    cut-outs; its network has no skips, ours does, so every map of the encoder is perturbed.

    option  published  ours   why
    weight  30         30/21  of a mean over 21 classes; of a sum it pulls as hard with any number
    rampup  0.1        0.1
    """

    name, title, year = "cct", "CCT", 2020
    paper = "Ouali et al., CVPR 2020, arXiv:2003.09005"
    ideas = ("consistency",)
    fidelity = "reconstruction"
    networks = {"student": Network(heads={name: Head() for name in PERTURBATIONS})}

    weight: NotNegative = 30 / 21
    rampup: Fraction = 0.1

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        """The auxiliary decoders see the unlabelled patches alone."""
        x = self.patches(batch)
        n = len(batch.x_l)
        draws = {name: batch.generator("perturb", name) for name in PERTURBATIONS}

        def perturbed(name: str, feature: Tensor, logits: Tensor) -> Tensor:
            return PERTURBATIONS[name](feature[n:], logits[n:], draws[name])

        return {"student": NetOutput(nets["student"](x, heads=True, perturb=perturbed), n)}

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        heads = outs["student"].whole.heads
        target = outs["student"].unlabelled.logits.detach().float().softmax(1)
        distances = [(z.float().softmax(1) - target).square().sum(1).mean() for z in heads.values()]
        return Term(sum(distances) / len(distances))
