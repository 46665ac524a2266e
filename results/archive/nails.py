"""Patients with a nail in the femur, when no labelled scan has one.

``python results/archive/nails.py``

Writes nails.csv and figures/nails.png in this folder from the kept runs of
``results/synthetic_bench.py --steps 2400`` with seed 2: no labelled scan has a nail, one of the
unlabelled scans has one. The picture shows what six methods predict for a test scan with a nail.
The table holds, for the labels-only network on the scans of new_scans.py with and without a
nail: how often is it right at voxels of rising uncertainty (of the voxel, or of the region around
it)? How often is a vote right of the most similar labelled voxels, of those that also lie at a
similar place, and of those that only lie at a similar place?
"""

import sys
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from new_scans import SCANS, STEPS
from synthetic_bench import COHORT, MIDDLE, collected
from torch import Tensor

from ssltut import show
from ssltut.data.batch import PatchLocation
from ssltut.data.case import Case
from ssltut.evaluation.runs import provenance
from ssltut.files import cache_dir
from ssltut.inspection import device_of, net_of, uncertainty_map
from ssltut.methods.matching.primitives import (
    draw_references,
    neighbour_vote,
    place_vectors,
    voxel_vectors,
)
from ssltut.methods.registry import make_method, title_of
from ssltut.methods.uncertainty import regional_mean
from ssltut.seeding import generator_for
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.run import Run, load_run
from ssltut.training.windows import sliding_window

SHOWN = [
    "labels_only",
    "ua_mt",
    "medl",
    "embedding_matching",
    "region_vote",
    "vote_beside",
]
SEED, SCAN, HERE = 2, "hip034", Path(__file__).parent
EDGES, ASKED, REFERENCES = (
    [0.0, 0.05, 0.1, 0.18, 0.25, 0.4, 1.0],
    4000,
    300,
)  # shares of ln C; voxels asked of a scan
VOTE = make_method("region_vote")
PLACED = make_method("region_vote", {"by": "both"})
WHO = ["network right", "match right", "match with place right", "place alone right"]


def vectors_of(run: Run, case: Case) -> Tensor:
    """What the region vote matches, of every voxel of a scan: (X * Y * Z, D)."""
    net = net_of(run, "student")

    def forward(x: Tensor) -> Tensor:
        return VOTE.vectors(net(x)).view(len(x), *x.shape[2:], -1).movedim(-1, 1)

    return voxel_vectors(
        sliding_window(
            forward, run.intensity.normalise(case.image), run.config.patch, device_of(net)
        )[None]
    )


def places_of(case: Case) -> Tensor:
    """The place code of every voxel of a scan."""
    return place_vectors(
        [PatchLocation(case.patient, case.meta["anatomy"]["side"], (0.5, 0.5, 0.5))],
        case.image.shape,
    )


def votes(
    query: tuple[Tensor, Tensor], references: tuple[Tensor, Tensor], classes: Tensor, n_classes: int
) -> dict[str, Tensor]:
    """The class that most of the nearest references have, by looks, by looks and place, and by
    place alone; vectors and places of both.
    """
    (looks, place), (known_looks, known_place), weight = query, references, PLACED.place**0.5
    ways = {
        "match": (looks, known_looks),
        "place alone": (place, known_place),
        "match with place": tuple(
            torch.cat([a, weight * b], dim=1)
            for a, b in ((looks, place), (known_looks, known_place))
        ),
    }
    return {
        name: neighbour_vote(*pair, classes, n_classes, VOTE.neighbours).argmax(1)
        for name, pair in ways.items()
    }


def references_of(run: Run, cases: list[Case]) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Vectors, places and classes of ``REFERENCES`` voxels a class from anywhere in each labelled
    scan.
    """
    vectors, places, classes = [], [], []
    for case in cases:
        y = torch.as_tensor(case.label.astype("int64"))[None]
        drawn = draw_references(
            y,
            torch.ones_like(y, dtype=torch.bool),
            run.table.n_classes,
            k=REFERENCES,
            redraws=1,
            generator=generator_for("cpu", SEED, case.id),
        )
        index = drawn.voxels[drawn.present].flatten()
        vectors.append(vectors_of(run, case)[index])
        places.append(places_of(case)[index])
        classes.append(y.flatten()[index])
    return (torch.cat(vectors), torch.cat(places)), torch.cat(classes)


@torch.no_grad()
def asked(run: Run, case: Case, references: tuple[Tensor, Tensor], classes: Tensor) -> pd.DataFrame:
    """A row a voxel that is asked: its uncertainty as a share of ln C, alone and of its region, and
    who is right.
    """
    n_classes, truth = run.table.n_classes, torch.as_tensor(case.label.astype("int64")).flatten()
    alone = (
        torch.as_tensor(uncertainty_map(run, case).mean_of_entropies)
        / torch.tensor(float(n_classes)).log()
    )
    region = regional_mean(alone[None], VOTE.region).flatten()
    chosen = torch.multinomial(
        (region > EDGES[1]).float(), ASKED, generator=generator_for("cpu", SEED, case.id)
    )
    voted = votes(
        (vectors_of(run, case)[chosen], places_of(case)[chosen]), references, classes, n_classes
    )
    said = torch.as_tensor(run.predict(case).astype("int64")).flatten()
    return pd.DataFrame(
        {
            "scan": "nail" if case.meta["pathology"]["implant"] else "no nail",
            "voxel": alone.flatten()[chosen].numpy(),
            "region": region[chosen].numpy(),
            "network right": (said == truth)[chosen].numpy(),
        }
        | {f"{name} right": (vote == truth[chosen]).numpy() for name, vote in voted.items()}
    )


def table(run: Run, labelled: list[Case], cases: list[Case]) -> pd.DataFrame:
    """How often network and match are right, by kind of scan and by uncertainty, of the voxel and
    of its region.
    """
    references, classes = references_of(run, labelled)
    voxels = pd.concat([asked(run, case, references, classes) for case in cases], ignore_index=True)
    parts = []
    for by in ("voxel", "region"):
        bins = pd.cut(voxels[by], EDGES, right=False)
        part = (
            voxels.groupby(["scan", bins], observed=True)
            .agg(voxels=("voxel", "size"), **{who: (who, "mean") for who in WHO})
            .reset_index(names=["scan", "bin"])
        )
        parts.append(
            part.assign(
                uncertainty=by,
                low=part["bin"].map(lambda b: b.left),
                high=part["bin"].map(lambda b: b.right),
            ).drop(columns="bin")
        )
    return pd.concat(parts, ignore_index=True)[
        ["scan", "uncertainty", "low", "high", "voxels", *WHO]
    ]


def main() -> None:
    torch.set_num_threads(1)
    cohort, folder = synthetic_cohort(**COHORT), cache_dir() / "record" / f"synthetic_bench-{STEPS}"
    tags = collected(folder).query("seed == @SEED").groupby("method")["config"].last()
    runs = {name: load_run(folder / "runs" / f"{name}-{SEED}-{tags[name]}") for name in SHOWN}

    fresh = synthetic_cohort(**SCANS["new_scans"]).test()
    nails, others = (
        [case for case in fresh if case.meta["pathology"]["implant"] == wanted]
        for wanted in (True, False)
    )
    labelled = [cohort.case(name) for name in cohort.with_budget(MIDDLE, SEED).split.labelled]
    found = table(runs["labels_only"], labelled, nails + others[: len(nails)])
    found.assign(**provenance()).to_csv(HERE / "nails.csv", index=False)
    print(found.round(3).to_string())

    case = cohort.case(SCAN)
    scan = {
        "image": case.image,
        "spacing": case.spacing,
        "table": cohort.table,
        "at": tuple(side // 2 for side in case.image.shape),
    }
    shown = {"truth": scan | {"overlay": case.label}} | {
        title_of(name).removeprefix("embedding matching, "): (scan | {"overlay": run.predict(case)})
        for name, run in runs.items()
    }
    (HERE / "figures" / "nails.png").write_bytes(
        show.grid(shown, columns=4, alt="seven times the same scan").png
    )


if __name__ == "__main__":
    main()
