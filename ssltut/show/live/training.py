"""Watching a run while it trains: curves that grow, and a look at what the networks say
meanwhile.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssltut.show.frontends import frontend
from ssltut.show.static.curves import (
    default_groups,
    draw_panels,
    panel_axes,
    panel_rows,
    refuse_missing,
)
from ssltut.show.static.pictures import Picture, described, picture, styled
from ssltut.show.static.slices import Scene, add_key, draw_plane
from ssltut.training.callbacks import Callback
from ssltut.training.history import history_row

Look = Callable[[Mapping[str, object], object], Mapping[str, Mapping[str, object]]]
LIMIT = 0.015  # of the time that a run takes may go into redraws


@styled
def board(
    groups: Mapping[str, Sequence[str]], scenes: Mapping[str, Scene]
) -> tuple[Figure, list[Axes], list[Axes]]:
    """An empty figure behind ``LiveCurves``: panels of curves, and below them one for a slice of
    each scene, with their key.
    """
    rows, columns = panel_rows(groups)
    low = 3.6 if scenes else 0.0
    fig = Figure(
        figsize=(max(4.2 * columns, 4.2 * len(scenes), 7), 3.4 * rows + low + 0.4),
        layout="constrained",
    )
    above, *below = (
        fig.subfigures(2, 1, height_ratios=(3.4 * rows, low)) if scenes else (fig.subfigures(),)
    )
    slots = list(below[0].subplots(1, max(columns, len(scenes)), squeeze=False)[0]) if below else []
    for ax in slots[len(scenes) :]:
        ax.axis("off")
    if below:
        add_key(below[0], list(scenes.values()), slots)
    return fig, panel_axes(above, groups), slots[: len(scenes)]


@styled
def redrawn(
    fig: Figure,
    panels: list[Axes],
    slots: list[Axes],
    history: pd.DataFrame,
    groups: Mapping[str, Sequence[str]],
    scenes: Mapping[str, Scene],
    plane: str,
    status: str,
) -> None:
    """Curves and slices of now on a board, in the place of those before."""
    for ax in (*panels, *slots):
        ax.clear()
    draw_panels(panels, history, groups)
    for ax, (title, scene) in zip(slots, scenes.items(), strict=False):
        draw_plane(ax, scene, plane, crosshair=False)
        ax.set_title(title)
    fig.suptitle(status, x=0.01, ha="left", fontsize=15)


class LiveCurves(Callback):
    """Training curves that grow while a run trains: ``with LiveCurves(alt=...) as live: train(...,
    callbacks=[live])``.

    steps          of the whole run: adds how many are done and the time left;  learning_rate is
                   named beside them
    look           look(nets, batch) -> {title: keywords of Scene}, called at each redraw: one slice
                   of each is drawn in ``plane`` below the curves, for example the pseudo-labels of
                   a fixed patch as they change
    groups         panels as in ``curves`` (default: loss terms, weights, shares of voxels,
                   validation scores)
    At most one redraw per ``every`` seconds, and as few as it takes to spend no more than 1.5 % of
    the run on them; the final picture stays in the notebook.
    In the static frontend only the final one is drawn. ``spent`` are the seconds all of it took.
    Raises ConfigError for an empty alt text.
    """

    def __init__(
        self,
        *,
        alt: str,
        every: float = 0.5,
        groups: Mapping[str, Sequence[str]] | None = None,
        steps: int | None = None,
        learning_rate: float | None = None,
        look: Look | None = None,
        plane: str = "coronal",
    ) -> None:
        self.alt, self.every, self.groups = described(alt), max(every, 0.5), groups
        self.steps, self.learning_rate, self.look, self.plane = steps, learning_rate, look, plane
        self.rows: list[dict[str, float]] = []
        self.first, self.last, self.spent, self.cost = None, -np.inf, 0.0, 0.0
        self.shown, self.live, self.latest = None, frontend() != "static", None
        self.board, self.form = None, None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.redraw(final=True)

    def on_step(
        self, step: int, nets: Mapping[str, object], batch: object, terms: Mapping[str, object]
    ) -> None:
        """One step more; ``train`` calls it."""
        self.latest = nets, batch
        self.add(history_row(step, sum(term.weight * term.value for term in terms.values()), terms))

    def on_validation(self, step: int, scores: Mapping[str, float]) -> None:
        """The validation scores of ``step``, whose row is there already."""
        self.rows[-1] |= {f"validation {name}": value for name, value in scores.items()}

    def add(self, row: Mapping[str, float]) -> None:
        """One row of a history, with its "step"."""
        now = time.monotonic()
        self.first = now if self.first is None else self.first
        self.rows.append(dict(row))
        if self.live and (self.shown is None or now - self.last >= self.pause(now)):
            self.redraw()

    def pause(self, now: float) -> float:
        """Seconds from one redraw to the next that spread ``LIMIT`` evenly over the run, with three
        put aside for the first and the last.
        """
        whole = now - self.first
        if self.steps:
            whole += whole / len(self.rows) * max(0, self.steps - 1 - self.rows[-1]["step"])
        left = LIMIT * whole / max(self.cost, 1e-6) - 3
        return max(self.every, whole / left) if left > 0 and self.spent < LIMIT * whole else np.inf

    def status(self) -> str:
        """Step, learning rate, last validation and time left, in one line."""
        done, told = int(self.rows[-1]["step"]) + 1, []
        told.append(f"step {done}" + (f" of {self.steps}" if self.steps else ""))
        rate = self.rows[-1].get("lr", self.learning_rate)
        told += [f"learning rate {rate:g}"] if rate is not None else []
        scored = next((row for row in reversed(self.rows) if "validation dice" in row), None)
        told += (
            [f"validation Dice {scored['validation dice']:.3f} at step {int(scored['step']) + 1}"]
            if scored
            else []
        )
        if self.steps and len(self.rows) > 1:
            left = (time.monotonic() - self.first) / (len(self.rows) - 1) * (self.steps - done)
            told.append(f"{left / 60:.1f} min left" if left > 0 else "done")
        return ", ".join(told)

    def picture(self, *, quick: bool = False) -> Picture:
        """What there is to see now. ``quick`` draws on the board of the picture before, whose
        layout took most of the time.

        Raises ConfigError for a column of ``groups`` that no row has, unless it is a validation
        score.
        """
        history = pd.DataFrame(self.rows)
        groups = self.groups or default_groups([c for c in history.columns if c != "step"])
        for column in {
            c for names in groups.values() for c in names if c.startswith("validation ")
        } - set(history.columns):
            history[column] = np.nan  # a score that is still to come
        refuse_missing(history, groups)
        scenes = (
            {title: Scene(**scene) for title, scene in self.look(*self.latest).items()}
            if self.look and self.latest
            else {}
        )
        form = (tuple(groups), tuple(scenes))
        if not quick or self.form != form:
            self.board, self.form = board(groups, scenes), form
        status = self.status()
        redrawn(*self.board, history, groups, scenes, self.plane, status)
        now = picture(self.board[0], f"{self.alt} {status}", quick=quick)
        self.board[0].set_layout_engine("none")
        return now

    def redraw(self, *, final: bool = False) -> None:
        """Show the picture of now in the place of the one before."""
        from IPython.display import display

        if not self.rows:
            return
        begun = time.monotonic()
        now = self.picture(quick=not final)
        if self.shown is None:
            self.shown = display(now, display_id=True)
        else:
            self.shown.update(now)
        self.last = time.monotonic()
        self.cost = self.last - begun
        self.spent += self.cost
