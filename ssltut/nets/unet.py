"""The 3D U-Net of Çiçek et al. 2016 (arXiv 1606.06650), at half width and with dropout as in Xie et al. 2024."""

import torch
from torch import Tensor, nn

from ssltut.nets import Out, check_size, norm_layer


def conv_unit(c_in: int, c_out: int, dropout: float, norm: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(c_in, c_out, 3, padding=1), norm_layer(norm, c_out), nn.ReLU(inplace=True), nn.Dropout(dropout))


class UNet(nn.Module):
    """Encoder levels of (w, 2w), (2w, 4w), (4w, 8w) ... channels, mirrored decoder, 1x1x1 output.

    width     w, the channels of the very first convolution (16 in Xie et al.: the embedding then has 32 channels)
    depth     number of levels (4 in both papers)
    dropout   after every convolution but the output
    norm      "batch" as in the papers; "instance" and "group" take their statistics from the patch, which misleads them where a
              patch holds one tissue only
    """

    def __init__(self, in_channels: int, n_classes: int, *, width: int = 16, depth: int = 4, dropout: float = 0.15, norm: str = "batch"):
        super().__init__()
        self.factor = 2 ** (depth - 1)
        self.down, self.up, self.merge = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        c_in = in_channels
        for level in range(depth):
            c = width * 2**level
            self.down.append(nn.Sequential(conv_unit(c_in, c, dropout, norm), conv_unit(c, 2 * c, dropout, norm)))
            c_in = 2 * c
        for level in reversed(range(depth - 1)):
            c_skip = width * 2 ** (level + 1)
            self.up.append(nn.ConvTranspose3d(2 * c_skip, 2 * c_skip, 2, stride=2))
            self.merge.append(nn.Sequential(conv_unit(3 * c_skip, c_skip, dropout, norm), conv_unit(c_skip, c_skip, dropout, norm)))
        self.classifier = nn.Conv3d(2 * width, n_classes, 1)

    def forward(self, x: Tensor) -> Out:
        check_size(x, self.factor)
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool3d(x, 2))
            skips.append(x)
        bottleneck = skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], dim=1))
        return Out(self.classifier(x), {"embedding": x, "bottleneck": bottleneck}, {})
