"""Other people's 2D networks, slice by slice, and pre-trained weights from disk."""

from importlib import import_module
from pathlib import Path

from torch import Tensor, nn

from ssltut.errors import CheckpointError, ConfigError
from ssltut.nets.base import Out
from ssltut.training.checkpoint import load_checkpoint, load_net


class Slices(nn.Module):
    """``net``, which takes (N, 1, X, Y) to logits (N, C, X, Y), on every axial slice of a patch (B,
    1, X, Y, Z).
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, heads: bool = False) -> Out:
        flat = self.net(x.movedim(-1, 1).flatten(0, 1))
        return Out(flat.unflatten(0, (len(x), -1)).movedim(1, -1), {}, {})


def imported(where: str, in_channels: int, n_classes: int) -> Slices:
    """The network that the function ``where`` ("package.module:function") makes of (in_channels,
    n_classes), slice by slice.

    It repeats the grey image to three channels itself where it needs colours. Raises ConfigError
    when there is no such function.
    """
    module, _, function = where.partition(":")
    try:
        make = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"there is no network {where!r} ({error})",
            fix="name a function as package.module:function",
        ) from None
    return Slices(make(in_channels, n_classes))


def load_pretrained(net: nn.Module, weights: Path) -> None:
    """The weights of ``net`` from a .safetensors file of its state dict, or the folder of a run
    (its predicting network).

    Raises CheckpointError when there are none, or they are those of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if weights.is_dir():
        groups, meta = load_checkpoint(weights / "best.safetensors")
        tensors = groups[f"net.{meta['primary']}"]
    else:
        try:
            tensors = load_file(weights)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"the weights cannot be read ({error})",
                where=weights,
                fix="give a .safetensors file or the folder of a run",
            ) from None
    load_net(getattr(net, "net", net), tensors, weights)
