"""What may happen beside a training, such as a live picture of it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn

from ssltut.data.batch import Batch
from ssltut.methods.contract import Term

if TYPE_CHECKING:
    from ssltut.training.run import Run


class Callback:
    """What ``train`` calls at three moments; it looks, and does not touch."""

    def on_step(
        self, step: int, nets: Mapping[str, nn.Module], batch: Batch, terms: Mapping[str, Term]
    ) -> None:
        """After every step: its number from 0, the networks, the batch and the loss terms."""

    def on_validation(self, step: int, scores: Mapping[str, float]) -> None:
        """After the validation that follows ``step``: mean "dice" and "hd95" (mm)."""

    def on_end(self, run: "Run") -> None:
        """After the last step, with the finished run; not for a run that was done before."""
