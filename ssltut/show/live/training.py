"""Watching a run while it trains: curves that grow, and slices of what the networks answer."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from ssltut.data.batch import Batch
from ssltut.methods.contract import Term
from ssltut.show.frontends import frontend
from ssltut.show.static import curves
from ssltut.show.static.pictures import Picture, described, picture, styled
from ssltut.show.static.slices import Scene, add_key, draw_plane, grid_of_axes
from ssltut.training.callbacks import Callback
from ssltut.training.history import history_row

Networks = Mapping[str, torch.nn.Module]
Look = Callable[[Networks, Batch], Mapping[str, Mapping[str, Any]]]
LIMIT = 0.015  # of the time that a run takes may go into redraws


class LiveCurves(Callback):
    """Curves that grow: ``with LiveCurves(alt=...) as live: train(..., callbacks=[live])``.

    steps          of the whole run: adds how many are done and the time left
    learning_rate  is named beside them
    look           look(nets, batch) -> {title: keywords of Scene}: a coronal slice of each, below
    groups         panels as in ``curves``
    At most one redraw per ``every`` seconds, and as few as it takes to spend no more than 1.5 % of
    the run on them; the final picture stays in the notebook. In the static frontend only that one
    is drawn. ``spent`` are the seconds all of it took. Raises ConfigError for an empty alt text.
    """

    def __init__(
        self,
        *,
        alt: str,
        every: float = 0.5,
        groups: curves.Groups | None = None,
        steps: int | None = None,
        learning_rate: float | None = None,
        look: Look | None = None,
    ) -> None:
        self.alt, self.every, self.groups = described(alt), max(every, 0.5), groups
        self.steps, self.learning_rate, self.look = steps, learning_rate, look
        self.live = frontend() != "static"
        self.rows: list[dict[str, float]] = []
        self.latest: tuple[Networks, Batch] | None = None
        self.began = math.nan
        self.last_redraw, self.last_cost, self.spent = -np.inf, 0.0, 0.0
        self.board: Board | None = None
        self.display: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.redraw(final=True)

    def on_step(self, step: int, nets: Networks, batch: Batch, terms: Mapping[str, Term]) -> None:
        self.latest = nets, batch
        self.add(history_row(step, terms))

    def on_validation(self, step: int, scores: Mapping[str, float]) -> None:
        """The scores go to the row of the last step."""
        self.rows[-1] |= {f"validation {name}": value for name, value in scores.items()}

    def add(self, row: Mapping[str, float]) -> None:
        """One row of a history, with its "step"."""
        now = time.monotonic()
        if not self.rows:
            self.began = now
        self.rows.append(dict(row))
        if self.live and (self.display is None or now - self.last_redraw >= self.pause(now)):
            self.redraw()

    def pause(self, now: float) -> float:
        """Seconds from one redraw to the next that spread ``LIMIT`` evenly over the run.

        Three redraws are put aside for the first and the last.
        """
        whole = now - self.began
        if self.steps:
            whole += whole / len(self.rows) * max(0, self.steps - 1 - self.rows[-1]["step"])
        redraws_left = LIMIT * whole / max(self.last_cost, 1e-6) - 3
        if redraws_left <= 0 or self.spent >= LIMIT * whole:
            return np.inf
        return max(self.every, whole / redraws_left)

    def status(self) -> str:
        """Step, learning rate, last validation and time left, in one line."""
        done = int(self.rows[-1]["step"]) + 1
        parts = [f"step {done} of {self.steps}" if self.steps else f"step {done}"]
        if self.learning_rate is not None:
            parts.append(f"learning rate {self.learning_rate:g}")
        validated = [row for row in self.rows if "validation dice" in row]
        if validated:
            dice, step = validated[-1]["validation dice"], int(validated[-1]["step"]) + 1
            parts.append(f"validation Dice {dice:.3f} at step {step}")
        if self.steps and len(self.rows) > 1:
            a_step = (time.monotonic() - self.began) / (len(self.rows) - 1)
            left = a_step * (self.steps - done)
            parts.append(f"{left / 60:.1f} min left" if left > 0 else "done")
        return ", ".join(parts)

    def picture(self, *, quick: bool = False) -> Picture:
        """What there is to see now; ``quick`` draws on the board of the picture before.

        Raises ConfigError for a column of ``groups`` that no row has, except for validation scores.
        """
        history = pd.DataFrame(self.rows)
        groups = self.groups or curves.default_groups([c for c in history.columns if c != "step"])
        for column in {c for names in groups.values() for c in names} - set(history.columns):
            if column.startswith("validation "):  # a score that is still to come
                history[column] = np.nan
        curves.refuse_missing(history, groups)
        looks = self.look(*self.latest) if self.look and self.latest else {}
        scenes = {title: Scene(**keywords) for title, keywords in looks.items()}
        board, status = self.board, self.status()
        if board is None or not quick or board.form != (tuple(groups), tuple(scenes)):
            board = self.board = Board(groups, scenes)
        board.draw(history, groups, scenes)
        board.head.suptitle(status, x=0.01, ha="left", fontsize=15)
        shown = picture(board.figure, f"{self.alt} {status}", quick=quick)
        board.figure.set_layout_engine("none")
        return shown

    def redraw(self, *, final: bool = False) -> None:
        """Show the picture of now in the place of the one before."""
        from IPython.display import display

        if not self.rows:
            return
        begun = time.monotonic()
        shown = self.picture(quick=not final)
        if self.display is None:
            self.display = display(shown, display_id=True)
        else:
            self.display.update(shown)
        self.last_redraw = time.monotonic()
        self.last_cost = self.last_redraw - begun
        self.spent += self.last_cost


class Board:
    """Panels of curves, and below them a slice of each scene with their key.

    It is drawn on again and again: the layout takes most of the time of a picture.
    """

    @styled
    def __init__(self, groups: curves.Groups, scenes: Mapping[str, Scene]) -> None:
        self.form = (tuple(groups), tuple(scenes))
        rows, columns = curves.panel_rows(groups)
        high, low = 3.4 * rows, 3.6 if scenes else 0.0
        width = max(4.2 * columns, 4.2 * len(scenes), 7)
        self.figure = Figure(figsize=(width, high + low + 0.4), layout="constrained")
        self.head: FigureBase = self.figure
        self.slots: list[Axes] = []
        if scenes:
            parts = self.figure.subfigures(2, 1, height_ratios=(high, low), squeeze=False)
            self.head, below = parts[:, 0]
            self.slots = grid_of_axes(below, len(scenes), max(columns, len(scenes)))
            add_key(below, list(scenes.values()))
        self.panels = grid_of_axes(self.head, len(groups), columns)

    @styled
    def draw(
        self, history: pd.DataFrame, groups: curves.Groups, scenes: Mapping[str, Scene]
    ) -> None:
        """Curves and slices of now, in the place of those before."""
        for ax in (*self.panels, *self.slots):
            ax.clear()
        curves.draw_panels(self.panels, history, groups)
        for ax, (title, scene) in zip(self.slots, scenes.items(), strict=True):
            draw_plane(ax, scene, "coronal", title)
