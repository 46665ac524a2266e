"""The 3D U-Net of Çiçek et al. 2016 (arXiv 1606.06650), narrower, as in Xie et al. 2024."""

from typing import Any

import torch
from torch import Tensor, nn

from ssltut.nets.base import Dropout, NetOptions, SegNet, conv_unit, upsampling


class UNet(SegNet):
    """Encoder levels of (w, 2w), (2w, 4w), (4w, 8w) ... channels, mirrored decoder, 1x1x1 output.

    width    w, of the first convolution (16 in Xie et al., half the original; 2w in the embedding)
    depth    4 in both papers
    dropout  after every convolution but the output
    """

    encoder = ("down",)

    def __init__(
        self, in_channels: int, n_classes: int, options: NetOptions, up: str, skips: bool
    ) -> None:
        super().__init__(options, skips)
        width, depth, dropout, norm, _ = options

        def unit(c_in: int, c_out: int) -> nn.Sequential:
            return nn.Sequential(*conv_unit(c_in, c_out, norm, self.kernel), Dropout(dropout))

        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        self.merge = nn.ModuleList()
        widths = [width * 2**level for level in range(depth)]
        for c_in, c in zip([in_channels, *widths[1:]], widths, strict=True):
            self.down.append(nn.Sequential(unit(c_in, c), unit(c, 2 * c)))
        for c in reversed(widths[1:]):
            self.up.append(upsampling(up, 2 * c, 2 * c, self.step))
            self.merge.append(nn.Sequential(unit(3 * c if skips else 2 * c, c), unit(c, c)))
        last: Any = (self.merge or self.down)[-1]
        last[-1][-1] = nn.Identity()  # the last dropout is that of SegNet
        self.classifier = nn.Conv3d(2 * width, n_classes, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        features = [self.down[0](x)]
        for block in self.down[1:]:
            features.append(block(nn.functional.max_pool3d(features[-1], self.step)))
        return features

    def decode(self, features: list[Tensor]) -> list[Tensor]:
        *skips, x = features
        maps = [x]
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], dim=1) if self.skips else up(x))
            maps.insert(0, x)
        return maps
