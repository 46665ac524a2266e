"""2D networks from elsewhere, applied slice by slice."""

from torch import Tensor, nn

from ssltut.nets.base import Out
from ssltut.options import function_named


class Slices(nn.Module):
    """``net``, which takes (N, 1, X, Y) to logits (N, C, X, Y), on every axial slice of a patch."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, heads: bool = False) -> Out:
        flat = self.net(x.movedim(-1, 1).flatten(0, 1))
        return Out(flat.unflatten(0, (len(x), -1)).movedim(1, -1), {}, {})


def import_net(where: str, in_channels: int, n_classes: int) -> Slices:
    """The network that the function ``where`` ("package.module:function") makes, slice by slice.

    The function takes (in_channels, n_classes); a network that needs colours repeats the grey image
    to three channels itself. Raises ConfigError where there is no such function.
    """
    make = function_named(where, "network", "name a function as package.module:function")
    return Slices(make(in_channels, n_classes))
