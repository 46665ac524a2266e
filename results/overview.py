"""The picture at the top of the README: ``python results/overview.py``.

It needs the runs of the notebooks at profile class, which it takes from the cache or trains.
"""

import io
import os
from dataclasses import replace
from pathlib import Path

os.environ["SSLTUT_FRONTEND"] = "static"
HERE = Path(__file__).parent


def main() -> None:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    from ssltut import show
    from ssltut.evaluation.record import read_rows
    from ssltut.evaluation.statistics import summary
    from ssltut.inspection import correspond, embedding_map, uncertainty_map
    from ssltut.methods.registry import make_method
    from ssltut.synthetic.cohorts import synthetic_cohort
    from ssltut.training.config import profile_named
    from ssltut.training.loop import cached_run

    profile = profile_named("class")
    cohort = synthetic_cohort(**profile.cohort)
    teacher = cached_run(make_method("labels_only"), cohort, replace(profile.teacher, seed=0))
    scan, labelled = cohort.case(cohort.split.unlabelled[3]), cohort.case(cohort.split.labelled[0])
    unsure = uncertainty_map(teacher, scan).mean_of_entropies

    rng = np.random.default_rng(0)
    asked = np.argwhere(unsure >= np.quantile(unsure, 0.97))
    asked = asked[rng.choice(len(asked), 60, replace=False)]
    found = correspond(
        embedding_map(teacher, scan),
        asked,
        embedding_map(teacher, labelled),
        labelled.label,
        n_classes=3,
    )
    place = [
        np.c_[voxels, np.ones(len(voxels))] @ case.affine.T
        for voxels, case in ((asked, scan), (found.reference[:, 0], labelled))
    ]
    agree = scan.label[tuple(asked.T)] == found.reference_class[:, 0]
    meshes = [
        [show.surface(case.label, c, affine=case.affine, table=cohort.table) for c in (1, 2)]
        for case in (scan, labelled)
    ]

    rows = read_rows(HERE / "synthetic_class.csv")
    tables = [
        summary(rows, metric).rename(columns={"low95": "low", "high95": "high"})
        for metric in ("dice", "hd95")
    ]

    both = pd.concat(tables).assign(method=lambda table: table["title"])
    pictures = {
        "A synthetic hip CT and its bones": show.planes(
            scan.image, spacing=scan.spacing, alt="scan", overlay=scan.label, table=cohort.table
        ),
        "Where the teacher is unsure": show.planes(
            scan.image,
            spacing=scan.spacing,
            alt="uncertainty",
            heat=unsure,
            heat_label="entropy (nats)",
        ),
        "Which labelled voxels vouch for unsure ones": show.correspondences(
            *meshes, place[0][:, :3], place[1][:, :3], agree, alt="correspondences"
        ),
        "Does it help? Test scans never seen": show.intervals(
            both,
            alt="intervals",
            bounds=("labels only", "all labels (upper bound)"),
            titles={"dice": "Dice (right is better)", "hd95": "HD95, mm (left is better)"},
        ),
    }
    figure = Figure(figsize=(20, 13), layout="constrained")
    for axes, (title, picture) in zip(figure.subplots(2, 2).flat, pictures.items(), strict=True):
        axes.imshow(imread(io.BytesIO(picture.png)))
        axes.set_title(title, fontsize=24, loc="left")
        axes.axis("off")
    (HERE / "figures").mkdir(exist_ok=True)
    figure.savefig(HERE / "figures" / "overview.png", dpi=70)


if __name__ == "__main__":
    main()
