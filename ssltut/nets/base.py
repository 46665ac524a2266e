"""What all networks share. Every forward returns ``Out(logits, feats, heads)``, no bare tensor."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssltut.errors import ConfigError
from ssltut.nets.heads import Head

Perturb = Callable[[str, Tensor, Tensor], Tensor]
Sides = tuple[int, int, int]
Twin = Callable[..., "SegNet"]  # makes another network of the same kind


class Out(NamedTuple):
    """What a network gives back."""

    logits: Tensor  # (B, C, X, Y, Z) before the softmax
    # "embedding" (B, D, X, Y, Z), the last decoder map before the 1x1x1 output; "undropped", the
    # same before the last dropout; "half", the one before it, at half resolution; "bottleneck",
    # the deepest map of the encoder.
    feats: dict[str, Tensor]
    heads: dict[str, Tensor]  # further outputs by name, at full resolution; empty unless asked for

    def items(self, chosen: slice) -> "Out":
        """The outputs of some items of the batch."""
        feats = {name: maps[chosen] for name, maps in self.feats.items()}
        heads = {name: maps[chosen] for name, maps in self.heads.items()}
        return Out(self.logits[chosen], feats, heads)

    def split(self, n: int) -> tuple["Out", "Out"]:
        """The outputs of the first ``n`` items of the batch, and those of the others."""
        return self.items(slice(n)), self.items(slice(n, None))


class NetOptions(NamedTuple):
    """How a network is built."""

    width: int  # channels of the first convolution
    depth: int  # levels: the sides are halved depth - 1 times, so by ``factor``
    dropout: float
    norm: str  # "batch" (papers); "instance" and "group" mislead where a patch is of one tissue
    flat: bool = False  # the last axis is left alone: a 2D network on every axial slice


class SegNet(nn.Module):
    """A network of an encoder, a decoder (``up`` and ``skips`` as in ``Head``) and a 1x1x1 output.

    A network adds ``encode`` (maps from full resolution to the bottleneck), ``decode`` (those of
    the way back, the first before the last dropout), names of ``encoder`` parts, ``classifier``.
    """

    encoder: ClassVar[tuple[str, ...]]
    encode: Callable[[Tensor], list[Tensor]]
    decode: Callable[[list[Tensor]], list[Tensor]]
    classifier: nn.Conv3d

    def __init__(self, options: NetOptions, skips: bool) -> None:
        super().__init__()
        self.factor = 2 ** (options.depth - 1)
        self.last_dropout = nn.Dropout(options.dropout)
        self.sides = 2 if options.flat else 3
        self.step = (2, 2, 1) if options.flat else (2, 2, 2)
        self.kernel = (3, 3, 1) if options.flat else (3, 3, 3)
        self.skips = skips

    def add_heads(self, heads: Mapping[str, Head], n_classes: int, twin: Twin) -> None:
        """Runs after initialisation, so that a network's own weights are the same with heads."""
        self.specs = {i: head for i, head in heads.items() if 2 ** (head.level or 0) <= self.factor}
        self.heads = nn.ModuleDict()
        for name, head in self.specs.items():
            self.heads[name] = self.make_head(head, n_classes, twin)
        he_init(self.heads)

    def make_head(self, head: Head, n_classes: int, twin: Twin) -> nn.Module:
        channels = n_classes if head.background else n_classes - 1
        if head.level is None:
            decoder = twin(channels, up=head.up, skips=head.skips)
            for part in self.encoder:
                delattr(decoder, part)
            return decoder
        width = self.classifier.in_channels * (self.factor if head.level < 0 else 2**head.level)
        output = nn.Conv3d(width, head.project or channels, 1)
        if head.project:
            return nn.Sequential(nn.Conv3d(width, width, 1), nn.PReLU(width), output)
        return output

    def forward(self, x: Tensor, heads: bool = False, perturb: Perturb | None = None) -> Out:
        """``heads`` asks for the further outputs.

        ``perturb(name, map, logits)`` is what the decoder of the head ``name`` sees in place of an
        encoder map. Raises ConfigError where a side of ``x`` cannot be halved often enough.
        """
        if any(side % self.factor for side in x.shape[2 : 2 + self.sides]):
            times = self.factor.bit_length() - 1
            problem = f"the network halves its input {times} times, but the patch is"
            fix = f"choose patch sides that are multiples of {self.factor}, or a smaller depth"
            raise ConfigError(f"{problem} {tuple(x.shape[2:])}", fix=fix)
        features = self.encode(x)
        undropped, *coarser = self.decode(features)
        embedding = self.last_dropout(undropped)
        maps = [embedding, *coarser]
        logits = self.classifier(embedding)
        feats = {"embedding": embedding, "undropped": undropped}
        feats |= {"half": maps[min(1, len(coarser))], "bottleneck": features[-1]}
        further = {}
        for name, head in self.specs.items() if heads else ():
            part: Any = self.heads[name]
            if head.level is None:
                seen = [perturb(name, f, logits) for f in features] if perturb else features
                further[name] = part.classifier(part.last_dropout(part.decode(seen)[0]))
            else:
                coarse = part(maps[head.level])
                further[name] = F.interpolate(coarse, logits.shape[2:], mode="trilinear")
        return Out(logits, feats, further)


def conv(c_in: int, c_out: int, kernel: Sides, step: Sides = (1, 1, 1)) -> nn.Conv3d:
    """A convolution that keeps the size, or divides it by ``step``."""
    x, y, z = kernel
    return nn.Conv3d(c_in, c_out, kernel, stride=step, padding=(x // 2, y // 2, z // 2))


def conv_unit(
    c_in: int, c_out: int, norm: str, kernel: Sides, step: Sides = (1, 1, 1)
) -> list[nn.Module]:
    """``conv``, normalisation and ReLU."""
    return [conv(c_in, c_out, kernel, step), norm_layer(norm, c_out), nn.ReLU(inplace=True)]


def upsampling(kind: str, c_in: int, c_out: int, step: Sides) -> nn.Module:
    """Doubles the sides that ``step`` has a 2 for, by a ``kind`` as in ``Head.up``."""
    if kind == "deconv":
        return nn.ConvTranspose3d(c_in, c_out, step, stride=step)
    x, y, z = step
    kernel = (2 * x - 1, 2 * y - 1, 2 * z - 1)
    return nn.Sequential(nn.Upsample(scale_factor=step, mode=kind), conv(c_in, c_out, kernel))


def norm_layer(kind: str, channels: int) -> nn.Module:
    """Normalisation by name. "batch" keeps running statistics, which EMA then copies too."""
    if kind == "instance":
        return nn.GroupNorm(channels, channels)  # the same numbers as InstanceNorm3d, quicker
    if kind == "batch":
        return nn.BatchNorm3d(channels)
    if kind == "group":
        return nn.GroupNorm(min(8, channels), channels)
    raise ConfigError(f"there is no normalisation {kind!r}", fix="use instance, batch or group")


class Dropout(nn.Dropout):
    """Dropout whose draws cost a third of torch's on a CPU; 16 random bits decide over a voxel.

    The limit they are compared with is rounded up or down at random, a draw a call, so that each
    voxel is left out with probability ``p`` exactly.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu" or not 0.0 < self.p < 1.0:
            return super().forward(x)
        n = x.numel()
        words = torch.empty(n // 4 + 1, dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[:n].as_strided(x.shape, torch.empty_like(x).stride())
        limit = int(65536 * self.p + torch.rand(()).item()) - 32768
        return x * (bits >= limit) * (1.0 / (1.0 - self.p))


def he_init(net: nn.Module) -> None:
    """He initialisation of every convolution, zero biases."""
    for module in net.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
