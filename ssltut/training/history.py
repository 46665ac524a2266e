"""The history of a run: one row a step."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ssltut.methods.contract import Term


def total_loss(terms: Mapping[str, Term]) -> Tensor:
    """What is learnt from: the sum of weight x value over the terms that have a weight."""
    return torch.as_tensor(sum(term.weight * term.value for term in terms.values() if term.weight))


def history_row(step: int, terms: Mapping[str, Term]) -> dict[str, float]:
    """The step, the total, and the value, weight and share of every term."""
    row = {"step": step, "total": float(total_loss(terms).detach())}
    for name, term in terms.items():
        row |= {name: float(term.value.detach()), f"{name} weight": term.weight}
        if term.share is not None:
            row[f"{name} share"] = term.share
    return row
