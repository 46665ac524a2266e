"""Modes of networks: eval, and dropout alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[None]:
    """No dropout, no statistics of the batch; the modes are put back afterwards."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def dropout_on(net: nn.Module) -> Iterator[None]:
    """Dropout draws, everything else is in eval mode; the modes are put back afterwards."""
    with eval_mode(net):
        for module in net.modules():
            if isinstance(module, nn.Dropout | nn.Dropout3d):
                module.train()
        yield
