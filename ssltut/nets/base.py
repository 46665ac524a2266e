"""Networks. Every forward returns ``Out(logits, feats, heads)``, never a bare tensor."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from ssltut.errors import ConfigError


class Out(NamedTuple):
    """What a network gives back.

    logits  (B, C, X, Y, Z) before the softmax
    feats   "embedding" (B, D, X, Y, Z), the last decoder map before the 1x1x1 output; "half", the
            one before it, at half resolution; "bottleneck", the deepest map of the encoder
    heads   further outputs by name, at full resolution (empty unless asked for)
    """

    logits: Tensor
    feats: dict[str, Tensor]
    heads: dict[str, Tensor]

    def split(self, n: int) -> tuple["Out", "Out"]:
        """The outputs of the first ``n`` items of the batch, and those of the others."""
        first, others = slice(None, n), slice(n, None)
        return tuple(
            Out(
                self.logits[part],
                {k: v[part] for k, v in self.feats.items()},
                {k: v[part] for k, v in self.heads.items()},
            )
            for part in (first, others)
        )


class Head(NamedTuple):
    """A further output a network can be given.

    level       1x1x1 output on the main decoder's map at 1 / 2^level of the resolution, brought to
                full resolution trilinearly; levels deeper than the network are left out, -1 is the
                deepest map. None: a decoder of its own
    up          how that decoder doubles the resolution: "deconv", or "trilinear" or "nearest" and a
                3x3x3 convolution
    skips       whether that decoder sees every map of the encoder or the bottleneck alone
    background  False: no channel for the background
    supervised  whether it learns from the labels as the main output does
    project     not a 1x1x1 output but a projection to this many channels: 1x1x1, PReLU, 1x1x1
    prompts     not a part of the network but the answers of a dynamic head over it
                (ssltut.nets.prompted), which give the main output too
    """

    level: int | None = None
    up: str = "deconv"
    skips: bool = True
    background: bool = True
    supervised: bool = False
    project: int = 0
    prompts: bool = False


class SegNet(nn.Module):
    """What all networks share. A network adds ``encode`` (maps from full resolution to the
    bottleneck), ``decode`` (the same maps of the way
    back), the names of its ``encoder`` parts, a ``classifier``, and ``factor``, which it halves its
    first ``sides`` sides by.
    """

    sides = 3

    def add_heads(
        self, heads: Mapping[str, Head], n_classes: int, twin: Callable[..., "SegNet"]
    ) -> None:
        """After initialisation, so that a network's own weights are the same with heads. A head's
        decoder is a ``twin`` without encoder.
        """
        self.specs = {
            name: head for name, head in heads.items() if 2 ** (head.level or 0) <= self.factor
        }
        self.heads = nn.ModuleDict()
        for name, head in self.specs.items():
            channels = n_classes - (not head.background)
            if head.level is None:
                self.heads[name] = twin(channels, up=head.up, skips=head.skips)
                for part in self.encoder:
                    delattr(self.heads[name], part)
            else:
                width = self.classifier.in_channels * (
                    self.factor if head.level < 0 else 2**head.level
                )
                self.heads[name] = nn.Conv3d(width, head.project or channels, 1)
                if head.project:
                    self.heads[name] = nn.Sequential(
                        nn.Conv3d(width, width, 1), nn.PReLU(width), self.heads[name]
                    )
        he_init(self.heads)

    def forward(
        self,
        x: Tensor,
        heads: bool = False,
        perturb: Callable[[str, Tensor, Tensor], Tensor] | None = None,
    ) -> Out:
        """``heads`` asks for them; ``perturb(name, map, logits)`` gives what the decoder of that
        head sees in place of an encoder map.
        """
        check_size(x, self.factor, self.sides)
        features = self.encode(x)
        maps = self.decode(features)
        logits, found = self.classifier(maps[0]), {}
        for name, head in self.specs.items() if heads else ():
            part = self.heads[name]
            if head.level is None:
                seen = features if perturb is None else [perturb(name, f, logits) for f in features]
                found[name] = part.classifier(part.decode(seen)[0])
            else:
                found[name] = F.interpolate(
                    part(maps[head.level]), logits.shape[2:], mode="trilinear"
                )
        return Out(
            logits,
            {"embedding": maps[0], "half": maps[min(1, len(maps) - 1)], "bottleneck": features[-1]},
            found,
        )


def upsampling(kind: str, c_in: int, c_out: int, step: tuple[int, ...] = (2, 2, 2)) -> nn.Module:
    """Doubles the resolution by a transposed convolution ("deconv"), or by interpolation and a
    convolution ("trilinear", "nearest").
    """
    if kind == "deconv":
        return nn.ConvTranspose3d(c_in, c_out, step, stride=step)
    kernel = tuple(2 * s - 1 for s in step)
    return nn.Sequential(
        nn.Upsample(scale_factor=step, mode=kind),
        nn.Conv3d(c_in, c_out, kernel, padding=tuple(s - 1 for s in step)),
    )


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


def check_size(x: Tensor, factor: int, sides: int = 3) -> None:
    """Raises ConfigError when one of the first ``sides`` sides of ``x`` (B, C, X, Y, Z) cannot be
    halved and doubled without loss.
    """
    if any(side % factor for side in x.shape[2 : 2 + sides]):
        raise ConfigError(
            f"the network halves its input {factor.bit_length() - 1} times, but the patch is"
            f" {tuple(x.shape[2:])}",
            fix=f"choose patch sides that are multiples of {factor}, or a smaller depth",
        )
