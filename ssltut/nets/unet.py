"""The 3D U-Net of Çiçek et al. 2016 (arXiv 1606.06650), at half width and with dropout as in Xie et
al. 2024.
"""

from functools import partial

import torch
from torch import Tensor, nn

from ssltut.nets.base import SegNet, norm_layer, upsampling


def conv_unit(
    c_in: int, c_out: int, dropout: float, norm: str, kernel: tuple[int, ...]
) -> nn.Sequential:
    conv = nn.Conv3d(c_in, c_out, kernel, padding=tuple(k // 2 for k in kernel))
    return nn.Sequential(conv, norm_layer(norm, c_out), nn.ReLU(inplace=True), nn.Dropout(dropout))


class UNet(SegNet):
    """Encoder levels of (w, 2w), (2w, 4w), (4w, 8w) ... channels, mirrored decoder, 1x1x1 output.

    width     w, the channels of the very first convolution (16 in Xie et al.: the embedding then
              has 32 channels)
    depth     number of levels (4 in both papers)
    dropout   after every convolution but the output
    norm      "batch" as in the papers; "instance" and "group" take their statistics from the patch,
              which misleads them where a patch holds one tissue only
    flat      kernels and pooling leave the last axis alone: a 2D network that sees every axial
              slice by itself
    up, skips  as in ``Head``
    """

    encoder = ("down",)

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        *,
        width: int = 16,
        depth: int = 4,
        dropout: float = 0.15,
        norm: str = "batch",
        flat: bool = False,
        up: str = "deconv",
        skips: bool = True,
    ):
        super().__init__()
        self.factor, self.sides, self.skips, self.step = (
            2 ** (depth - 1),
            2 if flat else 3,
            skips,
            (2, 2, 1) if flat else (2, 2, 2),
        )
        unit = partial(
            conv_unit, dropout=dropout, norm=norm, kernel=(3, 3, 1) if flat else (3, 3, 3)
        )
        self.down, self.up, self.merge = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        c_in = in_channels
        for level in range(depth):
            c = width * 2**level
            self.down.append(nn.Sequential(unit(c_in, c), unit(c, 2 * c)))
            c_in = 2 * c
        for level in reversed(range(depth - 1)):
            c_skip = width * 2 ** (level + 1)
            self.up.append(upsampling(up, 2 * c_skip, 2 * c_skip, self.step))
            self.merge.append(
                nn.Sequential(unit((3 if skips else 2) * c_skip, c_skip), unit(c_skip, c_skip))
            )
        self.classifier = nn.Conv3d(2 * width, n_classes, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        features = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool3d(x, self.step))
            features.append(x)
        return features

    def decode(self, features: list[Tensor]) -> list[Tensor]:
        *skips, x = features
        maps = [x]
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], dim=1) if self.skips else up(x))
            maps.insert(0, x)
        return maps
