"""Who is right where a teacher is unsure: ``python results/climax.py``.

Writes results/climax.csv. The teachers of notebook 02 (profile class, seeds 0 to 2) are asked about
the validation, unlabelled and test scans, whose truth is known here. In regions that they are
unsure of, and at rims, their answer is replaced by that of a rule that compares voxels with
labelled voxels. Trains the teachers that are not in the cache, two minutes each on an idle core;
asking takes four minutes a teacher. ``--seeds`` does some; the table keeps the rows of the others.

FLOOR, SIDE, RIMS, LEAST and the rules were fixed before any teacher of seed 1 or 2 was trained.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import log
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ssltut.data.batch import PatchLocation
from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, condition
from ssltut.evaluation.runs import provenance
from ssltut.files import write_atomically
from ssltut.inspection import device_of, net_of, uncertainty_map
from ssltut.methods.matching import primitives as matching
from ssltut.methods.matching.vote import NeighbourVote
from ssltut.methods.registry import make_method
from ssltut.methods.uncertainty import quantile_threshold, regional_mean
from ssltut.seeding import generator_for
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.config import profile_named
from ssltut.training.loop import cached_run
from ssltut.training.run import Run
from ssltut.training.windows import sliding_window

FLOOR, SIDE = 0.25, 7  # a region: mean entropy over SIDE^3 voxels of at least FLOOR ln C
# The share of the most uncertain voxels, mostly at rims, and how many of them are asked.
RIMS, ASKED = 0.05, 3000
LEAST = 100  # voxels that the regions of a scan must have for the scan to count
MOVED_MM = 24.0
LOOKS = NeighbourVote(by="looks")  # last map and bottleneck, and how many references vote
PLACE = LOOKS.place**0.5  # the length of a place vector beside the two of looks
BOTH, MOVED = "looks and place", "looks and place, crop moved"
FILE = Path(__file__).with_suffix(".csv")


class Vectors(NamedTuple):
    """What is compared, of voxels of one or several scans; each (N, D), D as each needs."""

    embedding: Tensor
    looks: Tensor
    place: Tensor

    def at(self, index: Tensor) -> "Vectors":
        return Vectors(*(part[index] for part in self))


class Bank(NamedTuple):
    """Labelled voxels: ``voters`` with ``labels`` (R,), ``published`` (C, draws, k, D)."""

    voters: Vectors
    labels: Tensor
    published: Tensor


def vectors_of(run: Run, case: Case) -> Vectors:
    """The vectors of every voxel of a scan, in the order of its flattened label."""
    net = net_of(run, "student")

    def forward(x: Tensor) -> Tensor:
        out = net(x)
        looks = LOOKS.vectors(out).view(len(x), *x.shape[2:], -1).movedim(-1, 1)
        return torch.cat([out.feats["embedding"].float(), looks], dim=1)

    image = run.intensity.normalise(case.image)
    maps = sliding_window(forward, image, run.config.patch, device_of(net))
    width = net.classifier.in_channels
    flat = matching.voxel_vectors(maps[None])
    return Vectors(flat[:, :width], flat[:, width:], places_of(case))


def places_of(case: Case, moved: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Tensor:
    """Where every voxel lies in its scan, were the crop ``moved`` by so many mm along each axis.

    A scan of both hips has a left and a right half, as its patches have in training.
    """
    shape = case.image.shape
    x, y, z = 0.5 - np.array(moved) / (np.array(shape) * case.spacing)
    left, right = (
        matching.place_vectors([PatchLocation(case.patient, side, (x, y, z))], shape)
        for side in ("left", "right")
    )
    if "anatomy" in case.meta:
        return right if case.meta["anatomy"]["side"] == "right" else left
    # In RAS+ the first index grows to the right.
    index = torch.arange(shape[0]).repeat_interleave(shape[1] * shape[2])
    is_right = 2 * index + 1 > shape[0]
    return torch.where(is_right[:, None], right, left)


def bank_of(run: Run, cases: list[Case], seed: int) -> Bank:
    """References of the labelled scans: on surfaces and anywhere, as in ``NeighbourVote``."""
    count = run.table.n_classes
    return joined([references_of(case, vectors_of(run, case), count, seed) for case in cases])


def references_of(case: Case, vectors: Vectors, n_classes: int, seed: int) -> Bank:
    """References of one labelled scan, as many of each class."""
    y = labels_of(case)[None]
    shell = matching.surface_shell(y, LOOKS.band)

    def drawn(region: Tensor, k: int, redraws: int) -> Tensor:
        draws = generator_for("cpu", seed, case.id, k)
        found = matching.draw_references(
            y, region, n_classes, k=k, redraws=redraws, generator=draws
        )
        return found.voxels

    surface = drawn(shell, LOOKS.k, LOOKS.redraws).flatten()
    inside = drawn(torch.ones_like(shell), LOOKS.interior, 1).flatten()
    index = torch.cat([surface, inside])
    return Bank(vectors.at(index), y.flatten()[index], vectors.embedding[drawn(shell, 16, 5)])


def labels_of(case: Case) -> Tensor:
    """The label of a scan that has one, int64."""
    return torch.as_tensor(np.asarray(case.label).astype(np.int64))


def joined(banks: list[Bank]) -> Bank:
    """The references of several scans."""
    vectors, labels, published = zip(*banks, strict=True)
    together = Vectors(*(torch.cat(parts) for parts in zip(*vectors, strict=True)))
    return Bank(together, torch.cat(labels), torch.cat(published, dim=1))


def votes(bank: Bank, looks: Tensor | None, place: Tensor | None, n_classes: int) -> Tensor:
    """The class (N,) of most of the nearest references, by what is given of the voxels."""
    query, voters = [], []
    if looks is not None:
        query.append(looks)
        voters.append(bank.voters.looks)
    if place is not None:
        query.append(PLACE * place)
        voters.append(PLACE * bank.voters.place)
    vectors = torch.cat(query, dim=1), torch.cat(voters, dim=1)
    share = matching.neighbour_vote(*vectors, bank.labels, n_classes, LOOKS.neighbours)
    return share.argmax(1)


def answers(
    run: Run, case: Case, bank: Bank, vectors: Vectors, where: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """Each rule and what it says of the voxels ``where`` (N,)."""
    n, asked = run.table.n_classes, vectors.at(where)
    yield "published match", matching.similarity(bank.published, asked.embedding).argmax(0)
    yield "looks", votes(bank, asked.looks, None, n)
    yield BOTH, votes(bank, asked.looks, asked.place, n)
    yield "place alone", votes(bank, None, asked.place, n)


def answers_when_moved(
    run: Run, case: Case, bank: Bank, vectors: Vectors, where: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """What looks and place say of the same voxels where the crop is moved, six ways."""
    n, looks = run.table.n_classes, vectors.looks[where]
    for axis, way in product(range(3), (-MOVED_MM, MOVED_MM)):
        moved = [0.0, 0.0, 0.0]
        moved[axis] = way
        yield MOVED, votes(bank, looks, places_of(case, tuple(moved))[where], n)


def ask(run: Run, case: Case, bank: Bank, seed: int) -> pd.DataFrame:
    """A row for each rule in regions and at rims of one scan: how often right, mended, broken."""
    found = uncertainty_map(run, case, seed=seed)
    alone = torch.from_numpy(found.mean_of_entropies)
    region = regional_mean(alone[None], SIDE)[0]
    places = {
        "regions": region >= FLOOR * log(run.table.n_classes),
        "rims": alone >= quantile_threshold(alone, RIMS),
    }
    truth = labels_of(case).flatten()
    teacher = torch.from_numpy(found.probabilities.argmax(0)).flatten()
    vectors, rows = vectors_of(run, case), []
    for place, mask in places.items():
        where = torch.nonzero(mask.flatten())[:, 0]
        if len(where) == 0:
            continue
        if place == "rims":
            draws = generator_for("cpu", seed, case.id, "rims")
            where = where[torch.randperm(len(where), generator=draws)[:ASKED]]
        right, told = truth[where], teacher[where]
        commonest = torch.full_like(right, right.mode().values.item())
        said = [("teacher", told), ("commonest class", commonest)]
        said += answers(run, case, bank, vectors, where)
        if place == "regions":
            said += answers_when_moved(run, case, bank, vectors, where)
        for rule, label in said:
            rows.append({"where": place, "rule": rule} | score(label, told, right))
    table = pd.DataFrame(rows).groupby(["where", "rule"], sort=False).mean().reset_index()
    known = {"seed": seed, "scan": case.id, "condition": condition(case)}
    swapped = int(swap(teacher, truth).sum())
    return table.assign(**known, **{"swapped in the scan": swapped})


def swap(told: Tensor, truth: Tensor) -> Tensor:
    """Where one bone is called the other."""
    return (told != truth) & (told > 0) & (truth > 0)


def score(label: Tensor, told: Tensor, truth: Tensor) -> dict[str, Any]:
    """How often ``label`` is right, and what it changes beside what the teacher told."""
    swapped = swap(told, truth)
    return {
        "voxels": len(truth),
        "right": (label == truth).float().mean().item(),
        "mended": int(((label == truth) & (told != truth)).sum()),
        "broken": int(((label != truth) & (told == truth)).sum()),
        "agrees with the teacher": (label == told).float().mean().item(),
        "swapped": int(swapped.sum()),
        "swapped mended": int(((label == truth) & swapped).sum()),
    }


def of_teacher(cohort: Cohort, run: Run, seed: int) -> pd.DataFrame:
    """The rows of one teacher."""
    bank, tables = bank_of(run, cohort.training("labelled"), seed), []
    parts = {
        "validation": cohort.split.validation,
        "unlabelled": cohort.known_unlabelled(),
        "test": cohort.split.test,
    }
    for part, ids in parts.items():
        for case_id in ids:
            tables.append(ask(run, cohort.case(case_id), bank, seed).assign(part=part))
            print(f"seed {seed}: {part} {case_id}", flush=True)
    return pd.concat(tables, ignore_index=True)


def held(table: pd.DataFrame) -> pd.DataFrame:
    """For each seed: in how many scans with a region each rule beats the teacher; means of them."""
    regions = table[(table["where"] == "regions") & (table["voxels"] >= LEAST)]
    wide = regions.pivot_table(index=["seed", "scan"], columns="rule", values="right")
    better = wide.gt(wide["teacher"], axis=0).groupby("seed").sum().T.add_prefix("better, seed ")
    means = wide.groupby("seed").mean().T.round(3).add_prefix("right, seed ")
    counts = regions.groupby(["seed", "rule"])[["swapped", "swapped mended"]].sum()
    mended = (counts["swapped mended"] / counts["swapped"]).unstack(0).round(3)
    print("scans with a region:", wide.groupby("seed").size().to_dict())
    return pd.concat([means, better, mended.add_prefix("swapped mended, seed ")], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--profile", default="class")
    parser.add_argument("--file", type=Path, default=FILE)
    args = parser.parse_args()
    torch.set_num_threads(1)
    profile = profile_named(args.profile)
    cohort = synthetic_cohort(**profile.cohort)
    for seed in args.seeds:
        config = replace(profile.teacher, seed=seed)
        run = cached_run(make_method("labels_only"), cohort, config)
        new = of_teacher(cohort, run, seed).assign(**provenance())
        before = pd.read_csv(args.file) if args.file.is_file() else new.head(0)
        table = pd.concat([before[before["seed"] != seed], new]) if len(before) else new
        table = table.sort_values("seed", kind="stable")
        write_atomically(args.file, table.round(4).to_csv(index=False))
    print(held(table).to_string())


if __name__ == "__main__":
    main()
