"""Precision where autocast would lose it."""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor


def full_precision(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Keeps autocast out: similarities of neighbouring classes differ by less than bf16 can tell
    apart.
    """

    @wraps(function)
    def run(first: Tensor, *rest, **options):
        with torch.autocast(first.device.type, enabled=False):
            return function(first, *rest, **options)

    return run
