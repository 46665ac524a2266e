"""The device and the precision of a training, and where autocast would lose too much."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def full_precision(function: F) -> F:
    """Keeps autocast out of ``function`` of a tensor: bf16 cannot tell similar classes apart."""

    @wraps(function)
    def run(first: Tensor, *rest: Any, **options: Any) -> Any:
        with torch.autocast(first.device.type, enabled=False):
            return function(first, *rest, **options)

    return cast(F, run)


def best_device() -> torch.device:
    """A GPU of this machine (CUDA, or Apple's), else its CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def auto_precision(device: torch.device) -> str:
    """bf16 on CUDA (fp16 on older cards) and on a CPU with AMX, where it is fast; else fp32."""
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    fast = device.type == "cpu" and torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if fast else "32-true"
