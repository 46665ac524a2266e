"""What may happen beside a training, such as a live picture of it or a log for TensorBoard."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.contract import Nets, Terms
from ssltut.options import function_named
from ssltut.training.history import history_row

if TYPE_CHECKING:
    from lightning_fabric.loggers import Logger

    from ssltut.training.run import Run


class Callback:
    """What ``train`` calls at three moments; it looks, and does not touch."""

    def on_step(self, step: int, nets: Nets, batch: Batch, terms: Terms) -> None:
        """After every step: its number from 0, the networks, the batch and the loss terms."""

    def on_validation(self, step: int, scores: Mapping[str, float]) -> None:
        """After the validation that follows ``step``: mean "dice" and "hd95" (mm)."""

    def on_end(self, run: "Run") -> None:
        """After the last step, with the finished run; not for a run that was done before."""


@dataclass
class Logged(Callback):
    """Hands the history to a logger of Lightning Fabric, each row as soon as it is there."""

    logger: "Logger"

    def on_step(self, step: int, nets: Nets, batch: Batch, terms: Terms) -> None:
        row = history_row(step, terms)
        self.logger.log_metrics({panel_of(n): row[n] for n in row if n != "step"}, step)
        self.logger.save()  # at once: a run that is killed and goes on leaves no gap

    def on_validation(self, step: int, scores: Mapping[str, float]) -> None:
        self.logger.log_metrics({f"validation/{n}": scores[n] for n in scores}, step)
        self.logger.save()

    def on_end(self, run: "Run") -> None:
        self.logger.finalize("success")


def panel_of(column: str) -> str:
    """A column of the history behind the name of its panel: "weight/match", "loss/total"."""
    name, _, kind = column.rpartition(" ")
    return f"{kind}/{name}" if kind in ("weight", "share") else f"loss/{column}"


def logger_named(name: str) -> "Callable[[Path], Logger]":
    """What makes a logger from the folder of a run. ConfigError where there is none."""
    from lightning_fabric.loggers import TensorBoardLogger

    if name != "tensorboard":
        return function_named(name, "logger", "name tensorboard or a package.module:function")
    if find_spec("tensorboard") is None:
        raise ConfigError("TensorBoard is not installed", fix="pip install tensorboard")
    return partial(TensorBoardLogger, name="", version="")  # TensorBoard names a run by its folder
