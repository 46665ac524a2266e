"""Networks. Every forward returns ``Out(logits, feats, heads)``, never a bare tensor."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssltut.errors import ConfigError


class Out(NamedTuple):
    """What a network gives back.

    logits  (B, C, X, Y, Z) before the softmax
    feats   "embedding" (B, D, X, Y, Z), the last decoder map before the 1x1x1 output; "bottleneck", the deepest map
    heads   further outputs by name (empty for a plain network)
    """

    logits: Tensor
    feats: dict[str, Tensor]
    heads: dict[str, Tensor]

    def split(self, n: int) -> tuple["Out", "Out"]:
        """The outputs of the first ``n`` items of the batch, and those of the others."""
        first, others = slice(None, n), slice(n, None)
        return tuple(Out(self.logits[part], {k: v[part] for k, v in self.feats.items()}, {k: v[part] for k, v in self.heads.items()})
                     for part in (first, others))


def norm_layer(kind: str, channels: int) -> nn.Module:
    """Normalisation by name. "batch" keeps running statistics, which EMA then copies too."""
    if kind == "instance":
        return nn.InstanceNorm3d(channels, affine=True)
    if kind == "batch":
        return nn.BatchNorm3d(channels)
    if kind == "group":
        return nn.GroupNorm(min(8, channels), channels)
    raise ConfigError(f"there is no normalisation {kind!r}", fix="use instance, batch or group")


def he_init(net: nn.Module) -> None:
    """He initialisation of every convolution, zero biases."""
    for module in net.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def check_size(x: Tensor, factor: int) -> None:
    """Raises ConfigError when a spatial side of ``x`` (B, C, X, Y, Z) cannot be halved and doubled without loss."""
    if any(side % factor for side in x.shape[2:]):
        raise ConfigError(
            f"the network halves its input {factor.bit_length() - 1} times, but the patch is {tuple(x.shape[2:])}",
            fix=f"choose patch sides that are multiples of {factor}, or a smaller depth")


def build_net(arch: str, in_channels: int, n_classes: int, *, width: int, depth: int, dropout: float, norm: str, seed: int) -> nn.Module:
    """A freshly initialised network; the same ``seed`` gives the same weights whatever was drawn before.

    arch "unet" (half the widths of Çiçek et al. 2016 at width 16) or "vnet". Raises ConfigError for another name.
    """
    from ssltut.nets.unet import UNet
    from ssltut.nets.vnet import VNet

    kinds = {"unet": UNet, "vnet": VNet}
    if arch not in kinds:
        raise ConfigError(f"there is no network {arch!r}", fix=f"use one of {', '.join(kinds)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = kinds[arch](in_channels, n_classes, width=width, depth=depth, dropout=dropout, norm=norm)
        he_init(net)
    return net
