"""Sharper probabilities."""

from torch import Tensor


def sharpen(logits: Tensor, temperature: float) -> Tensor:
    """p^(1/T) / Σ_c p^(1/T) along the classes (B, C, ...), as softmax(z / T): the same, and nothing
    underflows.
    """
    return (logits.float() / temperature).softmax(1)
