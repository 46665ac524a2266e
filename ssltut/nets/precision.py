"""Precision where autocast would lose it."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(
    function: Callable[Concatenate[Tensor, P], R],
) -> Callable[Concatenate[Tensor, P], R]:
    """Keeps autocast out of ``function``, whose first argument is a tensor.

    Similarities of neighbouring classes differ by less than bf16 can tell apart.
    """

    @wraps(function)
    def run(first: Tensor, *rest: P.args, **options: P.kwargs) -> R:
        with torch.autocast(first.device.type, enabled=False):
            return function(first, *rest, **options)

    return run
