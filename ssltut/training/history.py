"""The history of a run: one row a step."""

from collections.abc import Mapping

import torch

from ssltut.methods.contract import Term


def history_row(step: int, total: torch.Tensor, terms: Mapping[str, Term]) -> dict[str, float]:
    row = {"step": step, "total": float(total.detach())}
    for name, term in terms.items():
        row |= {name: float(term.value.detach()), f"{name} weight": term.weight}
        if term.share is not None:
            row[f"{name} share"] = term.share
    return row
