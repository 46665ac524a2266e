"""A V-Net with the encoder of a ResNet-34 (He et al. 2016, arXiv 1512.03385): the second opinion of
methods with two different networks.
"""

from torch import Tensor, nn

from ssltut.nets.base import norm_layer
from ssltut.nets.vnet import VNet

BLOCKS = (3, 4, 6, 3)  # residual blocks a stage, from half resolution down


class Residual(nn.Module):
    """Two 3x3x3 convolutions and a shortcut; with ``step`` it halves the resolution, by its first
    convolution and a 1x1x1 shortcut.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        norm: str,
        kernel: tuple[int, ...],
        step: tuple[int, ...] | int = 1,
    ) -> None:
        super().__init__()
        padding = tuple(k // 2 for k in kernel)
        self.body = nn.Sequential(
            nn.Conv3d(c_in, c_out, kernel, stride=step, padding=padding),
            norm_layer(norm, c_out),
            nn.ReLU(inplace=True),
            nn.Conv3d(c_out, c_out, kernel, padding=padding),
            norm_layer(norm, c_out),
        )
        self.shortcut = (
            nn.Identity()
            if step == 1
            else nn.Sequential(nn.Conv3d(c_in, c_out, 1, stride=step), norm_layer(norm, c_out))
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


class ResNet(VNet):
    """Options as of ``VNet``. The stem is the V-Net's first stage, at full resolution, where a
    ResNet for photographs halves twice.
    """

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        *,
        width: int = 16,
        depth: int = 5,
        norm: str = "batch",
        flat: bool = False,
        **options,
    ) -> None:
        super().__init__(
            in_channels, n_classes, width=width, depth=depth, norm=norm, flat=flat, **options
        )
        kernel, step = ((3, 3, 1), (2, 2, 1)) if flat else ((3, 3, 3), (2, 2, 2))
        stem, stages = self.down_stages[0], []
        self.downs = nn.ModuleList()
        for level, n in enumerate(BLOCKS[: depth - 1], start=1):
            c = width * 2**level
            self.downs.append(Residual(c // 2, c, norm, kernel, step))
            stages.append(nn.Sequential(*(Residual(c, c, norm, kernel) for _ in range(n - 1))))
        self.down_stages = nn.ModuleList([stem, *stages])

    def encode(self, x: Tensor) -> list[Tensor]:
        features = [self.down_stages[0](x)]
        for down, blocks in zip(self.downs, self.down_stages[1:], strict=True):
            features.append(blocks(down(features[-1])))
        return [*features[:-1], self.dropout(features[-1])]
