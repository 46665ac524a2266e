"""2D networks from elsewhere, applied slice by slice."""

from importlib import import_module

from torch import Tensor, nn

from ssltut.errors import ConfigError
from ssltut.nets.base import Out


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
    module, _, function = where.partition(":")
    try:
        make = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        fix = "name a function as package.module:function"
        raise ConfigError(f"there is no network {where!r} ({error})", fix=fix) from None
    return Slices(make(in_channels, n_classes))
