"""What the teacher of a matching method says of a batch."""

import torch

from ssltut.data.batch import Batch
from ssltut.methods.contract import Nets
from ssltut.methods.uncertainty import Classes, MCResult, mc_dropout
from ssltut.nets.base import Out


def teacher_passes(
    batch: Batch, nets: Nets, passes: int, sigma: float, classes: Classes = "all"
) -> MCResult:
    """``passes`` dropout passes over the unlabelled patches, each under fresh noise."""
    views = (batch.noise(sigma, "mc", m)(batch.unlabelled) for m in range(passes))
    return mc_dropout(nets["teacher"], views, classes)


@torch.no_grad()
def teacher_on_labelled(batch: Batch, nets: Nets, sigma: float) -> Out:
    """One pass in eval mode over the labelled patches, under noise: it embeds the references."""
    noise = batch.noise(sigma, "teacher", tuple(batch.x_l.shape), True)
    return nets["teacher"](noise(batch.x_l))
