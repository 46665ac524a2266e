"""The 3D V-Net (Milletari et al. 2016, arXiv 1606.04797) in the form most semi-supervised papers use."""

from torch import Tensor, nn

from ssltut.nets import Out, check_size, norm_layer

CONVS = (1, 2, 3, 3, 3)  # convolutions per stage, from full resolution down


def stage(n_convs: int, c_in: int, c_out: int, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(n_convs):
        layers += [nn.Conv3d(c_in if i == 0 else c_out, c_out, 3, padding=1), norm_layer(norm, c_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def resample(conv: nn.Module, c_out: int, norm: str) -> nn.Sequential:
    return nn.Sequential(conv, norm_layer(norm, c_out), nn.ReLU(inplace=True))


class VNet(nn.Module):
    """Strided convolutions down, transposed convolutions up, summation skips; dropout at the bottleneck and before the output.

    width    channels of the first stage (16 in the papers), doubled at every stage
    depth    number of stages, at most 5 (5 in the papers)
    dropout  0.5 in the papers
    """

    def __init__(self, in_channels: int, n_classes: int, *, width: int = 16, depth: int = 5, dropout: float = 0.5, norm: str = "batch"):
        super().__init__()
        self.factor = 2 ** (depth - 1)
        widths, convs = [width * 2**i for i in range(depth)], CONVS[:depth]
        self.down_stages = nn.ModuleList(stage(n, in_channels if i == 0 else w, w, norm) for i, (n, w) in enumerate(zip(convs, widths)))
        self.downs = nn.ModuleList(resample(nn.Conv3d(a, b, 2, stride=2), b, norm) for a, b in zip(widths, widths[1:]))
        self.ups = nn.ModuleList(resample(nn.ConvTranspose3d(b, a, 2, stride=2), a, norm) for a, b in zip(widths, widths[1:]))
        self.up_stages = nn.ModuleList(stage(n, w, w, norm) for n, w in zip(convs[:-1], widths[:-1]))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv3d(width, n_classes, 1)

    def forward(self, x: Tensor) -> Out:
        check_size(x, self.factor)
        skips = [self.down_stages[0](x)]
        for down, block in zip(self.downs, self.down_stages[1:], strict=True):
            h = down(skips[-1])
            skips.append(h + block(h))
        bottleneck = self.dropout(skips.pop())
        x = bottleneck
        for up, block in zip(reversed(self.ups), reversed(self.up_stages), strict=True):
            h = up(x) + skips.pop()
            x = h + block(h)
        x = self.dropout(x)
        return Out(self.classifier(x), {"embedding": x, "bottleneck": bottleneck}, {})
