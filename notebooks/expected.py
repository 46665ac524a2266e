"""Make the pictures that exercises should lead to: ``python notebooks/expected.py``.

They lie in ``notebooks/figures``, each under the name of its notebook. That of 03 shows the teacher
that ships, at the size of a class; the others show the numbers that the checks ask for.
"""

from collections.abc import Callable
from itertools import product
from math import log
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from ssltut import profile_named, show, synthetic_cohort
from ssltut.data.views import Noise
from ssltut.methods.losses import entropy
from ssltut.nets.modes import dropout_on
from ssltut.training.shipped import shipped

FIGURES = Path(__file__).resolve().parent / "figures"
BLUE, ORANGE, PINK, PALE = "#0072B2", "#D55E00", "#CC79A7", "#BCD9EA"


def two_entropies() -> bytes:
    """Exercise 1 of notebook 03, on its patch, with the difference beside it."""
    scans = synthetic_cohort(**profile_named("class").cohort)
    teacher, case = shipped("teacher_class"), scans.validation()[0]
    side = teacher.config.patch[0]
    middle = np.argwhere(case.label > 0).mean(0)
    starts = np.clip(middle - side / 2, 0, np.subtract(case.image.shape, side)).astype(int)
    box = tuple(slice(start, start + side) for start in starts)
    x = torch.from_numpy(teacher.intensity.normalise(case.image[box]))[None, None]
    torch.manual_seed(0)
    with dropout_on(teacher.nets["student"]), torch.no_grad():
        logits = [teacher.nets["student"](Noise(0.01, m)(x)).logits for m in range(5)]
    passes = torch.cat(logits).softmax(1)
    within = entropy(passes, dim=1).mean(0).numpy()
    whole = entropy(passes.mean(0), dim=0).numpy()
    maps = {"mean of entropies": within, "entropy of the mean": whole, "difference": whole - within}
    look = {"image": case.image[box], "spacing": case.spacing, "heat_label": "nats"}
    panels = {
        name: look | {"heat": np.maximum(m, 0), "heat_max": log(3)} for name, m in maps.items()
    }
    return show.grid(panels, columns=3, alt="two entropies of one patch and their difference").png


def figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of this size in inches, and its axes from left to right."""
    fig = Figure(figsize=(width, height), layout="constrained")
    axes = fig.subplots(1, columns, squeeze=False)[0]
    for ax in axes:
        ax.tick_params(labelsize=12)
        ax.spines[["top", "right"]].set_visible(False)
    return fig, list(axes)


def four_cases() -> bytes:
    """Exercise 3 of notebook 02: the Dice of masks that are empty or not."""
    fig, axes = figure(9, 2.8, 4)
    cases = {
        "both there\ntheir overlap": (True, True),
        "missed\nDice 0": (True, False),
        "invented\nDice 0": (False, True),
        "neither\nno score (NaN)": (False, False),
    }
    for ax, (name, (truth, prediction)) in zip(axes, cases.items(), strict=True):
        ax.set(xlim=(0, 10), ylim=(0, 10), aspect="equal", xticks=[], yticks=[])
        ax.spines[["top", "right"]].set_visible(True)
        ax.set_title(name, fontsize=14)
        if name.startswith(("missed", "invented")):
            ax.text(5, 0.5, "truth" if truth else "prediction", ha="center", fontsize=14)
        if truth:
            ax.add_patch(Circle((4.3, 5), 3, facecolor=PALE, edgecolor=BLUE, lw=3))
        if prediction:
            look = {"facecolor": "none", "edgecolor": ORANGE, "hatch": "//", "lw": 3}
            ax.add_patch(Circle((5.7, 5), 3, **look))
    return show.picture(fig, alt="four pairs of masks: truth plain blue, prediction hatched").png


def four_voxels() -> bytes:
    """Exercise 3 of notebook 04: the four voxels of its check."""
    fig, (ax,) = figure(7, 2.6)
    rows = {"teacher": [1, 1, 0, 2], "rule": [2, 0, 2, 2], "truth": [2, 1, 1, 2]}
    colours = ["#EEEEEE", "#E69F00", "#56B4E9"]  # of the classes, as in the scans
    for y, classes in enumerate(rows.values()):
        for x, c in enumerate(classes):
            ax.barh(y, 1, 0.9, left=x, color=colours[c], edgecolor="black")
            ax.text(x + 0.5, y, str(c), ha="center", va="center", fontsize=16)
    ax.set_yticks([0, 1, 2], list(rows), fontsize=14)
    ax.invert_yaxis()
    verdicts = ["mended", "broken", "neither", "neither"]
    ax.set_xticks([0.5, 1.5, 2.5, 3.5], verdicts, fontsize=14)
    ax.set_xlim(0, 4)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return show.picture(fig, alt="four voxels: the classes of teacher, rule and truth").png


def average() -> bytes:
    """Exercise 1 of notebook 05: a student jumps from 1 to 3, two teachers follow."""
    fig, (ax,) = figure(8, 3)
    steps = np.arange(41)
    ax.plot(steps, np.where(steps, 3, 1), color="black", ls="--", lw=2)
    ax.text(40, 2.88, "student", ha="right", va="top", fontsize=14)
    for decay, colour, marker, height in ((0.9, BLUE, "o", 2.35), (0.99, ORANGE, "s", 1.12)):
        ax.plot(steps, 3 - 2 * decay**steps, marker, ls="-", color=colour, markevery=5)
        ax.text(40, height, f"teacher, decay {decay}", ha="right", color=colour, fontsize=14)
    arrow = {"arrowstyle": "->", "lw": 1.5}
    ax.annotate("1.2 after one update", (1, 1.2), (7, 1.6), fontsize=14, arrowprops=arrow)
    ax.set_xlabel("updates", fontsize=14)
    ax.set_ylabel("one weight", fontsize=14)
    return show.picture(fig, alt="a student jumps from 1 to 3; two averages follow").png


def eight_signs() -> bytes:
    """Exercise 1 of notebook 06: the means of three draws of .02 under all signs."""
    fig, (ax,) = figure(8, 2.7)
    height: dict[float, int] = {}
    for signs in product((1, -1), repeat=3):
        mean = round(0.02 * sum(signs) / 3, 4)
        height[mean] = height.get(mean, 0) + 1
        far = abs(mean) >= 0.02
        ax.text(
            mean,
            height[mean],
            "".join("+" if sign > 0 else "\N{MINUS SIGN}" for sign in signs),
            ha="center",
            va="center",
            fontsize=16,
            family="monospace",
            weight="bold" if far else "normal",
            bbox={"facecolor": PINK if far else "white", "edgecolor": "black", "pad": 5},
        )
    ax.set(xlim=(-0.027, 0.027), ylim=(0.4, 3.6), yticks=[])
    ax.set_xticks(sorted(height))
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("mean of the three draws", fontsize=14)
    ax.set_title("2 of 8 are as far from 0 as yours: p = 0.25", fontsize=14)
    return show.picture(fig, alt="eight sign patterns, placed at their means").png


def two_grids() -> bytes:
    """Exercise 1 of notebook 08: five voxels of 1 mm and five of 2 mm."""
    fig, (ax,) = figure(8, 2.2)
    for y, mm, colour in ((1, 1, BLUE), (0, 2, ORANGE)):
        ax.plot(mm * np.arange(5), [y] * 5, "o-" if mm == 1 else "s-", color=colour, ms=10)
        ax.text(8.4, y, f"{mm} mm a voxel", va="center", color=colour, fontsize=14)
    arrow = {"arrowstyle": "<->", "lw": 2}
    ax.annotate("", (4, 0.5), (8, 0.5), arrowprops=arrow)
    ax.text(6, 0.56, "4 mm", ha="center", va="bottom", fontsize=14)
    for x, y in ((4, 1), (8, 0)):
        ax.plot([x, x], [0.5, y], color="black", ls=":")
    ax.text(0, 0.5, "0 mm", ha="center", va="center", fontsize=14)
    ax.set(xlim=(-0.6, 11), ylim=(-0.3, 1.3), yticks=[], xticks=range(0, 9, 2))
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("mm along x", fontsize=14)
    return show.picture(fig, alt="the first voxels meet, the last are 4 mm apart").png


def queue() -> bytes:
    """Exercise 1 of notebook 10: one job of 3 and three of 1 on two workers."""
    fig, (ax,) = figure(7, 2)
    jobs = [(0, 0, 3), (1, 0, 1), (1, 1, 1), (1, 2, 1)]  # worker, begin, length
    for n, (worker, begin, length) in enumerate(jobs, 1):
        colour = BLUE if length > 1 else PALE
        ax.barh(worker, length, left=begin, color=colour, edgecolor="black")
        look = {"ha": "center", "va": "center", "fontsize": 14}
        ax.text(
            begin + length / 2, worker, f"job {n}", color="white" if n == 1 else "black", **look
        )
    ax.set_yticks([0, 1], ["worker 1", "worker 2"], fontsize=14)
    ax.invert_yaxis()
    ax.set_xticks(range(4))
    ax.set_xlabel("hours", fontsize=14)
    return show.picture(fig, alt="both workers are done after 3").png


PICTURES: dict[str, Callable[[], bytes]] = {
    "02_four_cases": four_cases,
    "03_two_entropies": two_entropies,
    "04_four_voxels": four_voxels,
    "05_average": average,
    "06_eight_signs": eight_signs,
    "08_two_grids": two_grids,
    "10_queue": queue,
}


def main() -> None:
    FIGURES.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (FIGURES / f"{name}.png").write_bytes(draw())


if __name__ == "__main__":
    main()
