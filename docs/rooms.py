"""Draw the rooms of the package from the list in architecture.md: ``python docs/rooms.py``."""

import re
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

HERE = Path(__file__).resolve().parent
CAPTIONS = {
    "errors": "what went wrong, where, what next",
    "seeding": "random",
    "files": "cache",
    "options": "checks",
    "metrics": "Dice, HD95",
    "parallel": "processes",
    "progress": "bars",
    "data": "cases, cohorts, patches, batches",
    "nets": "networks with heads",
    "synthetic": "hips with exact labels",
    "io": "NIfTI, DICOM, cohort folders",
    "training": "the one loop, runs, prediction",
    "evaluation": "comparison and statistics",
    "inspection": "uncertainty, embeddings, neighbours",
    "show": "pictures and widgets",
    "intake": "a folder of scans to a cohort",
    "gallery": "pages of notebook 07",
    "cli": "the command ssltut",
}
COLOURS = {"methods": "#ffe1b3", "training": "#d5ecdf", "evaluation": "#d5ecdf"}
OUTER, PLAIN = "#fff6e6", "#e3edf7"


def layers(page: Path = HERE / "architecture.md") -> list[list[str]]:
    """The names on each floor, from the lowest; ``/`` separates a folder from what is in it."""
    text = page.read_text(encoding="utf-8")
    (block,) = re.findall(r"```layers\n(.*?)```", text, re.DOTALL)
    return [line.split() for line in block.splitlines()]


def draw_floor(axes: Axes, names: list[str], floor: int) -> None:
    """The boxes of one floor side by side; a room of methods is named without the folder."""
    inner = names[0].startswith("methods/")
    left, right = (1.6, 9.9) if inner else (0.1, 9.9)
    width = (right - left + 0.1) / len(names)
    for i, name in enumerate(names):
        room = name.split("/")[0]
        x = left + i * width
        box = FancyBboxPatch(
            (x, floor + 0.12),
            width - 0.1,
            0.76,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=COLOURS.get(room, PLAIN),
            edgecolor="#404040",
        )
        axes.add_patch(box)
        middle = x + (width - 0.1) / 2
        caption = CAPTIONS.get(name, "")
        axes.text(
            middle,
            floor + (0.64 if caption else 0.5),
            name.removeprefix("methods/"),
            ha="center",
            va="center",
            weight="bold",
        )
        axes.text(middle, floor + 0.32, caption, ha="center", va="center", size=7.5)


def draw(floors: list[list[str]]) -> Figure:
    """The house: the lowest floor below, the floors of ``methods`` in a frame of their own."""
    figure = Figure(figsize=(9, 0.52 * len(floors)))
    axes = figure.add_axes((0, 0, 1, 1))
    methods = [n for n, names in enumerate(floors) if names[0].startswith("methods/")]
    axes.add_patch(
        FancyBboxPatch(
            (0.1, methods[0] + 0.05),
            9.9,
            len(methods) - 0.1,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=OUTER,
            edgecolor="#404040",
        )
    )
    middle = (methods[0] + methods[-1] + 1) / 2
    axes.text(0.85, middle + 0.15, "methods", ha="center", va="center", weight="bold")
    axes.text(0.85, middle - 0.3, "one file\na method", ha="center", va="center", size=7.5)
    for floor, names in enumerate(floors):
        draw_floor(axes, names, floor)
    axes.annotate(
        "imports point down",
        (10.35, 0.2),
        (10.35, len(floors) / 2),
        arrowprops={"arrowstyle": "->"},
        rotation=90,
        ha="center",
        va="center",
    )
    axes.set(xlim=(0, 10.7), ylim=(0, len(floors)))
    axes.axis("off")
    return figure


if __name__ == "__main__":
    mpl.rcParams["svg.hashsalt"] = "rooms"  # the same file every time
    draw(layers()).savefig(HERE / "rooms.svg", metadata={"Date": None})
