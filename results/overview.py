"""The picture at the top of the README: ``python results/overview.py``.

It uses the teacher that ships with ssltut and ``results/bone.csv``; nothing is trained.
"""

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["SSLTUT_FRONTEND"] = "static"

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread
from report import forest

from ssltut import show
from ssltut.inspection import correspond, embedding_map, uncertainty_map
from ssltut.methods.registry import make_method
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.config import profile_named
from ssltut.training.shipped import trained_run

FIGURES = Path(__file__).parent / "figures"


def pictures() -> dict[str, Any]:
    """What the series does, in four pictures."""
    profile = profile_named("class")
    cohort = synthetic_cohort(**profile.cohort)
    config = replace(profile.teacher, seed=0)
    teacher = trained_run(make_method("labels_only"), cohort, config)
    scan, labelled = cohort.case(cohort.split.unlabelled[3]), cohort.case(cohort.split.labelled[0])
    unsure = uncertainty_map(teacher, scan).mean_of_entropies

    rng = np.random.default_rng(0)
    asked = np.argwhere(unsure >= np.quantile(unsure, 0.97))
    asked = asked[rng.choice(len(asked), 60, replace=False)]
    maps = [embedding_map(teacher, case) for case in (scan, labelled)]
    found = correspond(maps[0], asked, maps[1], labelled.label, n_classes=3)
    sides = ((asked, scan), (found.reference[:, 0], labelled))
    places = [np.c_[at, np.ones(len(at))] @ case.affine.T for at, case in sides]
    agree = scan.label[tuple(asked.T)] == found.reference_class[:, 0]
    meshes = [
        [show.surface(case.label, c, affine=case.affine, table=cohort.table) for c in (1, 2)]
        for case in (scan, labelled)
    ]
    shared: dict[str, Any] = {"spacing": scan.spacing, "alt": "planes"}
    shared["at"] = show.densest(unsure, scan.label)
    a, b = (place[:, :3] for place in places)
    return {
        "1. A synthetic hip CT and its bones": show.planes(
            scan.image, overlay=scan.label, table=cohort.table, **shared
        ),
        "2. Where the teacher is unsure": show.planes(
            scan.image, heat=unsure, heat_label="entropy (nats)", **shared
        ),
        "3. Which labelled voxels resemble the unsure ones": show.correspondences(
            *meshes, a, b, agree, alt="correspondences"
        ),
        "4. Does it help? Differences to the control": forest("bone", "Bone", ["dice"]),
    }


def main() -> None:
    figure = Figure(figsize=(20, 10.6), layout="constrained")
    axes = figure.subplots(2, 2, height_ratios=(1, 1.5))
    for ax, (title, picture) in zip(axes.flat, pictures().items(), strict=True):
        ax.imshow(imread(io.BytesIO(picture.png)))
        ax.set_title(title, fontsize=24, loc="left")
        ax.set_anchor("NW")
        ax.axis("off")
    FIGURES.mkdir(exist_ok=True)
    figure.savefig(FIGURES / "overview.png", dpi=70)


if __name__ == "__main__":
    main()
