"""Networks by name."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import nn

from ssltut.errors import ConfigError
from ssltut.nets.base import Head, he_init


def build_net(
    arch: str,
    in_channels: int,
    n_classes: int,
    *,
    width: int,
    depth: int,
    dropout: float,
    norm: str,
    seed: int,
    heads: Mapping[str, Head] | None = None,
) -> nn.Module:
    """A freshly initialised network; the same ``seed`` gives the same weights whatever was drawn
    before.

    arch "unet" (half the widths of Çiçek et al. 2016 at width 16), "vnet" or "resnet" (a V-Net with
    the encoder of a ResNet-34); with "2d" after its name it sees slice by slice;
    "package.module:function" is somebody's own 2D network (ssltut.nets.slices). Raises ConfigError
    for another name. ``heads`` are further outputs by name.
    """
    from ssltut.nets.prompted import FEATURES, Prompted
    from ssltut.nets.resnet import ResNet
    from ssltut.nets.slices import imported
    from ssltut.nets.unet import UNet
    from ssltut.nets.vnet import VNet

    kinds, kind, own = (
        {"unet": UNet, "vnet": VNet, "resnet": ResNet},
        arch.removesuffix("2d"),
        ":" in arch,
    )
    if kind not in kinds and not own:
        raise ConfigError(
            f"there is no network {arch!r}",
            fix=f"use one of {', '.join(kinds)}, with 2d after its name for slices",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if own:
            return imported(arch, in_channels, n_classes)
        make = partial(
            kinds[kind],
            in_channels,
            width=width,
            depth=depth,
            dropout=dropout,
            norm=norm,
            flat=arch != kind,
        )
        prompts = [name for name, head in (heads or {}).items() if head.prompts]
        net = make(FEATURES if prompts else n_classes)
        he_init(net)
        net = Prompted(net, n_classes, *prompts) if prompts else net
        net.add_heads(heads or {}, n_classes, make)
    return net
