"""One step of a method that can be repeated, for tests of its equations."""

import math
from dataclasses import replace

import torch
from toy import SMALL, make_batch

from ssltut.methods.contract import Progress
from ssltut.methods.registry import make_method
from ssltut.training.networks import build_nets

# No draw and no memory of earlier patches: a pass can be repeated.
STILL = replace(SMALL, dropout=0.0, norm="instance")
HALF = Progress(50, 100)


def step(name, options=None, config=STILL, n_classes=3, progress=HALF):
    """The terms of one step without noise, beside the networks and the batch they came from."""
    method = make_method(name, {"sigma_student": 0.0} | (options or {}))
    batch = make_batch(n_classes)
    nets = build_nets(method, config, n_classes)
    return method.losses(batch, nets, progress), nets, batch


def everything(net, batch, **options):
    """Float64 output for labelled, then unlabelled patches: main logits, and those of the heads."""
    outs = [net(x, heads=True, **options) for x in (batch.x_l, batch.x_u)]
    heads = {n: torch.cat([o.heads[n] for o in outs]).double() for n in outs[0].heads}
    return torch.cat([o.logits for o in outs]).double(), heads


def rise(r):
    return math.exp(-5 * (1 - min(r, 1)) ** 2)
