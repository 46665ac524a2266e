"""2D networks from elsewhere, applied slice by slice."""

from torch import Tensor, nn

from ssltut.nets.base import Out


class Slices(nn.Module):
    """``net``, which takes (N, 1, X, Y) to logits (N, C, X, Y), on every axial slice of a patch.

    One that needs colours repeats the grey image to three channels itself.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, heads: bool = False) -> Out:
        flat = self.net(x.movedim(-1, 1).flatten(0, 1))
        return Out(flat.unflatten(0, (len(x), -1)).movedim(1, -1), {}, {})
