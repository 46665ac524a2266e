"""The 3D V-Net (Milletari et al. 2016, arXiv 1606.04797) in the form most semi-supervised papers
use.
"""

from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from ssltut.nets.base import SegNet, norm_layer, upsampling

CONVS = (1, 2, 3, 3, 3)  # convolutions per stage, from full resolution down


def stage(n_convs: int, c_in: int, c_out: int, norm: str, kernel: tuple[int, ...]) -> nn.Sequential:
    layers, padding = [], tuple(k // 2 for k in kernel)
    for i in range(n_convs):
        layers += [
            nn.Conv3d(c_in if i == 0 else c_out, c_out, kernel, padding=padding),
            norm_layer(norm, c_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def resample(conv: nn.Module, c_out: int, norm: str) -> nn.Sequential:
    return nn.Sequential(conv, norm_layer(norm, c_out), nn.ReLU(inplace=True))


class VNet(SegNet):
    """Strided convolutions down, transposed convolutions up, summation skips; dropout at the
    bottleneck and before the output.

    width    channels of the first stage (16 in the papers), doubled at every stage
    depth    number of stages, at most 5 (5 in the papers)
    dropout  0.5 in the papers
    flat     kernels and strides leave the last axis alone
    up, skips  as in ``Head``
    """

    encoder = ("down_stages", "downs")

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        *,
        width: int = 16,
        depth: int = 5,
        dropout: float = 0.5,
        norm: str = "batch",
        flat: bool = False,
        up: str = "deconv",
        skips: bool = True,
    ):
        super().__init__()
        self.factor, self.sides, self.skips, step = (
            2 ** (depth - 1),
            2 if flat else 3,
            skips,
            (2, 2, 1) if flat else (2, 2, 2),
        )
        widths, convs = [width * 2**i for i in range(depth)], CONVS[:depth]
        block = partial(stage, norm=norm, kernel=(3, 3, 1) if flat else (3, 3, 3))
        self.down_stages = nn.ModuleList(
            block(n, in_channels if i == 0 else w, w)
            for i, (n, w) in enumerate(zip(convs, widths, strict=False))
        )
        self.downs = nn.ModuleList(
            resample(nn.Conv3d(a, b, step, stride=step), b, norm) for a, b in pairwise(widths)
        )
        self.ups = nn.ModuleList(
            resample(upsampling(up, b, a, step), a, norm) for a, b in pairwise(widths)
        )
        self.up_stages = nn.ModuleList(
            block(n, w, w) for n, w in zip(convs[:-1], widths[:-1], strict=False)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv3d(width, n_classes, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        features = [self.down_stages[0](x)]
        for down, block in zip(self.downs, self.down_stages[1:], strict=True):
            h = down(features[-1])
            features.append(h + block(h))
        return [*features[:-1], self.dropout(features[-1])]

    def decode(self, features: list[Tensor]) -> list[Tensor]:
        *skips, x = features
        maps = [x]
        for up, block in zip(reversed(self.ups), reversed(self.up_stages), strict=True):
            h = up(x) + skips.pop() if self.skips else up(x)
            x = h + block(h)
            maps.insert(0, x)
        return [self.dropout(x), *maps[1:]]
