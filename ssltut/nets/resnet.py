"""A V-Net with the encoder of a ResNet-34 (He et al. 2016, arXiv 1512.03385)."""

from typing import Any

from torch import Tensor, nn

from ssltut.nets.base import NetOptions, Sides, conv_unit, norm_layer
from ssltut.nets.vnet import VNet

BLOCKS = (3, 4, 6, 3)  # residual blocks a stage, from half resolution down


class Residual(nn.Module):
    """Two 3x3x3 convolutions and a shortcut; both halve the resolution where ``step`` says so."""

    def __init__(
        self, c_in: int, c_out: int, norm: str, kernel: Sides, step: Sides = (1, 1, 1)
    ) -> None:
        super().__init__()
        first = conv_unit(c_in, c_out, norm, kernel, step)
        *second, _ = conv_unit(c_out, c_out, norm, kernel)
        self.body = nn.Sequential(*first, *second)
        self.shortcut: nn.Module = nn.Identity()
        if max(step) > 1:
            halving = nn.Conv3d(c_in, c_out, 1, stride=step)
            self.shortcut = nn.Sequential(halving, norm_layer(norm, c_out))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


class ResNet(VNet):
    """Its stem is the V-Net's first stage, at full resolution, and not that for photographs."""

    def __init__(self, in_channels: int, n_classes: int, options: NetOptions, **rest: Any) -> None:
        super().__init__(in_channels, n_classes, options, **rest)
        width, depth, _, norm, _ = options
        self.downs = nn.ModuleList()
        self.down_stages = self.down_stages[:1]
        for level, n in enumerate(BLOCKS[: depth - 1], start=1):
            c = width * 2**level
            self.downs.append(Residual(c // 2, c, norm, self.kernel, self.step))
            blocks = [Residual(c, c, norm, self.kernel) for _ in range(n - 1)]
            self.down_stages.append(nn.Sequential(*blocks))

    def encode(self, x: Tensor) -> list[Tensor]:
        features = [self.down_stages[0](x)]
        for down, blocks in zip(self.downs, self.down_stages[1:], strict=True):
            features.append(blocks(down(features[-1])))
        return [*features[:-1], self.dropout(features[-1])]
