"""Draw the rooms of the package from the list in architecture.md: ``python docs/rooms.py``."""

import re
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

HERE = Path(__file__).resolve().parent
CAPTIONS = {
    "text": "words from files",
    "errors": "what went wrong, where, what next",
    "seeding": "random",
    "files": "cache",
    "options": "types",
    "metrics": "Dice, HD95",
    "parallel": "processes",
    "progress": "bars",
    "interrupts": "stopping",
    "exercises": "checks",
    "data": "cases, cohorts, patches, batches",
    "nets": "networks with heads",
    "synthetic": "hips with exact labels",
    "io": "NIfTI, DICOM, cohort folders",
    "methods": "one file\na method",
    "training": "the one loop, runs, prediction",
    "evaluation": "comparison and statistics",
    "inspection": "uncertainty, embeddings, neighbours",
    "show": "pictures\nand widgets",
    "intake": "a folder of scans to a cohort",
    "copies": "notebooks for a learner",
    "cli": "the command ssltut",
}
FRAMED = {"methods": ("#fff6e6", "#ffe1b3"), "show": ("#eef7f1", "#cfe8d8")}
PLAIN = "#e3edf7"
LEFT, INDENTED, RIGHT, GAP = 0.1, 1.6, 9.9, 0.1


def layers(page: Path = HERE / "architecture.md") -> list[list[str]]:
    """The names on each floor, from the lowest; ``/`` separates a folder from what is in it."""
    text = page.read_text(encoding="utf-8")
    (block,) = re.findall(r"```layers\n(.*?)```", text, re.DOTALL)
    return [line.split() for line in block.splitlines()]


def box(axes: Axes, x: float, y: float, width: float, height: float, colour: str) -> None:
    """A box with round corners; ``x``, ``y`` is its lower left corner."""
    shape = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, fc=colour, ec="#404040"))


def write(axes: Axes, x: float, y: float, name: str, caption: str) -> None:
    """A name in bold, with its caption below where there is one."""
    shift = 0.14 if caption else 0.0
    axes.text(x, y + shift, name, ha="center", va="center", weight="bold")
    below = -0.18 - 0.12 * caption.count("\n")
    axes.text(x, y + below, caption, ha="center", va="center", size=7.5)


def draw_floor(axes: Axes, names: list[str], floor: int, folder: str | None) -> None:
    """The boxes of one floor side by side; in a framed folder they are named without it."""
    left = INDENTED if folder else LEFT
    width = (RIGHT - left + GAP) / len(names)
    for i, name in enumerate(names):
        x = left + i * width
        box(axes, x, floor + 0.12, width - GAP, 0.76, FRAMED[folder][1] if folder else PLAIN)
        short = name.removeprefix(f"{folder}/") if name != folder else "all views by name"
        caption = "" if folder else CAPTIONS[name]
        write(axes, x + (width - GAP) / 2, floor + 0.5, short, caption)


def draw(floors: list[list[str]]) -> Figure:
    """The house, the lowest floor below; the floors of one folder are framed together."""
    figure = Figure(figsize=(9, 0.52 * len(floors)))
    axes = figure.add_axes((0, 0, 1, 1))
    floor = 0
    for room, group in groupby(floors, lambda names: names[0].split("/")[0]):
        framed = list(group)
        folder = room if len(framed) > 1 else None
        if folder:
            box(axes, LEFT, floor + 0.05, RIGHT, len(framed) - 0.1, FRAMED[folder][0])
            middle = floor + len(framed) / 2
            write(axes, (LEFT + INDENTED) / 2, middle, folder, CAPTIONS[folder])
        for names in framed:
            draw_floor(axes, names, floor, folder)
            floor += 1
    style = {"arrowstyle": "->"}
    way = (10.35, 0.2), (10.35, len(floors) / 2)
    text = {"rotation": 90, "ha": "center", "va": "center"}
    axes.annotate("imports point down", *way, arrowprops=style, **text)
    axes.set(xlim=(0, 10.7), ylim=(0, len(floors)))
    axes.axis("off")
    return figure


if __name__ == "__main__":
    mpl.rcParams["svg.hashsalt"] = "rooms"  # the same file every time
    mpl.rcParams["svg.fonttype"] = "none"  # words stay words
    draw(layers()).savefig(HERE / "rooms.svg", metadata={"Date": None})
