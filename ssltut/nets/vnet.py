"""The 3D V-Net (Milletari et al. 2016, arXiv 1606.04797) as most semi-supervised papers use it."""

from itertools import chain, pairwise

from torch import Tensor, nn

from ssltut.nets.base import Dropout, NetOptions, SegNet, conv_unit, norm_layer, upsampling

CONVS = (1, 2, 3, 3, 3)  # convolutions per stage, from full resolution down


class VNet(SegNet):
    """Strided convolutions down, transposed convolutions up, summation skips.

    width    channels of the first stage (16 in the papers), doubled at every stage
    depth    at most 5 (5 in the papers)
    dropout  at the bottleneck and before the output (0.5 in the papers)
    """

    encoder = ("down_stages", "downs")

    def __init__(
        self, in_channels: int, n_classes: int, options: NetOptions, up: str, skips: bool
    ) -> None:
        super().__init__(options, skips)
        width, depth, dropout, norm, _ = options
        widths = [width * 2**i for i in range(depth)]

        def stage(n_convs: int, c_in: int, c: int) -> nn.Sequential:
            layers = [conv_unit(c if i else c_in, c, norm, self.kernel) for i in range(n_convs)]
            return nn.Sequential(*chain(*layers))

        def resample(conv: nn.Module, c: int) -> nn.Sequential:
            return nn.Sequential(conv, norm_layer(norm, c), nn.ReLU(inplace=True))

        self.down_stages = nn.ModuleList(map(stage, CONVS, [in_channels, *widths[1:]], widths))
        self.downs = nn.ModuleList()
        for a, b in pairwise(widths):
            self.downs.append(resample(nn.Conv3d(a, b, self.step, stride=self.step), b))
        self.ups = nn.ModuleList()
        for a, b in pairwise(widths):
            self.ups.append(resample(upsampling(up, b, a, self.step), a))
        self.up_stages = nn.ModuleList(map(stage, CONVS, widths[:-1], widths[:-1]))
        self.dropout = Dropout(dropout)
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
        return maps
