"""Networks by name."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import nn

from ssltut.errors import ConfigError
from ssltut.nets.base import NetOptions, SegNet, he_init
from ssltut.nets.heads import Head
from ssltut.nets.prompted import FEATURES, Prompted
from ssltut.nets.resnet import ResNet
from ssltut.nets.slices import Slices
from ssltut.nets.unet import UNet
from ssltut.nets.vnet import VNet
from ssltut.options import function_named

ARCHITECTURES = {"unet": UNet, "vnet": VNet, "resnet": ResNet}


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
    """A freshly initialised network; ``seed`` alone decides its weights.

    arch   "unet" (half the widths of Çiçek et al. 2016 at width 16), "vnet" or "resnet" (a V-Net
           with the encoder of a ResNet-34); with "2d" after its name it sees slice by slice;
           "package.module:function" makes another 2D network of (in_channels, n_classes)
           (ssltut.nets.slices)
    heads  further outputs by name
    Raises ConfigError for another name.
    """
    kind = arch.removesuffix("2d")
    imported = ":" in arch
    if kind not in ARCHITECTURES and not imported:
        fix = f"use one of {', '.join(ARCHITECTURES)}, with 2d after its name for slices"
        raise ConfigError(f"there is no network {arch!r}", fix=fix)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if imported:
            own = function_named(arch, "network", "name a function as package.module:function")
            return Slices(own(in_channels, n_classes))
        options = NetOptions(width, depth, dropout, norm, flat=arch != kind)
        make = partial(ARCHITECTURES[kind], in_channels, options=options)
        heads = heads or {}
        prompts = [name for name, head in heads.items() if head.prompts]
        net: SegNet = make(FEATURES if prompts else n_classes, up="deconv", skips=True)
        he_init(net)
        if prompts:
            net = Prompted(net, n_classes, prompts[0])
        net.add_heads(heads, n_classes, make)
    # Channels as the innermost axis: convolutions on a CPU are a fifth to a quarter quicker.
    net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch has no hint
    return net
