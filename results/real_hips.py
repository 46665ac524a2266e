"""Who is right on real hips where a teacher is unsure: ``python results/real_hips.py --data DIR``.

Writes results/real_hips.csv. The question behind it: why does a match that mends synthetic hips do
harm on real ones? The control of each fold of the study ``pelves`` (results/studies.py), trained
before, is the teacher. On the unlabelled scans, whose truth is known here, and the test scans of
its fold, its answer in uncertain regions is replaced by that of a rule, as in climax.py.

A match draws as many references of each class. Bone is an eighth of a synthetic scan, but a
fiftieth of a pelvis. So each vote is also asked with references *in proportion*: drawn uniformly
from the surfaces' shells, where bone and rest are as frequent as they are there, or from anywhere.
"""

import argparse
from collections.abc import Iterator
from math import log
from pathlib import Path
from typing import Any

import climax
import pandas as pd
import torch
from climax import Bank, Vectors
from record import without_folders
from studies import STUDIES
from torch import Tensor

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort
from ssltut.evaluation.runs import provenance
from ssltut.files import cache_dir, write_atomically
from ssltut.inspection import uncertainty_map
from ssltut.methods.matching import primitives as matching
from ssltut.methods.uncertainty import regional_mean
from ssltut.seeding import generator_for
from ssltut.training.run import Run, load_run

FILE = Path(__file__).with_suffix(".csv")
ASKED = 6000  # voxels of a scan's regions at most
KINDS = ("as many of each class", "in proportion, surfaces", "in proportion, anywhere")


def banks_of(run: Run, cases: list[Case], seed: int) -> dict[str, Bank]:
    """The references of each of KINDS, equally many."""
    parts: dict[str, list[Bank]] = {kind: [] for kind in KINDS}
    for case in cases:
        vectors, y = climax.vectors_of(run, case), climax.labels_of(case)
        equal = climax.references_of(case, vectors, run.table.n_classes, seed)
        shell = matching.surface_shell(y[None], climax.LOOKS.band)[0]
        parts[KINDS[0]].append(equal)
        for kind, region in ((KINDS[1], shell), (KINDS[2], torch.ones_like(shell))):
            candidates = torch.nonzero(region.flatten())[:, 0]
            draws = generator_for("cpu", seed, case.id, kind)
            index = candidates[torch.randperm(len(candidates), generator=draws)]
            index = index[: len(equal.labels)]
            chosen = Bank(vectors.at(index), y.flatten()[index], equal.published)
            parts[kind].append(chosen)
    return {kind: climax.joined(banks) for kind, banks in parts.items()}


def answers(banks: dict[str, Bank], asked: Vectors, n: int) -> Iterator[tuple[str, str, Tensor]]:
    """Each rule, whom it asks, and what it says."""
    equal = banks[KINDS[0]]
    published = matching.similarity(equal.published, asked.embedding).argmax(0)
    yield "published match", KINDS[0], published
    for kind, bank in banks.items():
        yield "looks", kind, climax.votes(bank, asked.looks, None, n)
        yield climax.BOTH, kind, climax.votes(bank, asked.looks, asked.place, n)
        yield "place alone", kind, climax.votes(bank, None, asked.place, n)


def ask(run: Run, case: Case, banks: dict[str, Bank], seed: int) -> pd.DataFrame:
    """A row for each rule in the uncertain regions of one scan."""
    n, found = run.table.n_classes, uncertainty_map(run, case, seed=seed)
    entropy = torch.from_numpy(found.mean_of_entropies)
    region = regional_mean(entropy[None], climax.SIDE)[0] >= climax.FLOOR * log(n)
    where = torch.nonzero(region.flatten())[:, 0]
    share = len(where) / region.numel()
    draws = generator_for("cpu", seed, case.id, "regions")
    where = where[torch.randperm(len(where), generator=draws)[:ASKED]]
    truth = climax.labels_of(case).flatten()[where]
    told = torch.from_numpy(found.probabilities.argmax(0)).flatten()[where]
    commonest = torch.full_like(truth, truth.mode().values.item())
    said = [("teacher", "", told), ("commonest class", "", commonest)]
    said += answers(banks, climax.vectors_of(run, case).at(where), n)
    rows = [
        {"rule": rule, "references": kind} | score(label, told, truth) for rule, kind, label in said
    ]
    return pd.DataFrame(rows).assign(scan=case.id, share=share)


def score(label: Tensor, told: Tensor, truth: Tensor) -> dict[str, Any]:
    """As in climax.py, and how often it is right where there is bone and where there is none."""
    right = (label == truth).float()
    return climax.score(label, told, truth) | {
        "bone": (truth > 0).float().mean().item(),
        "says bone": (label > 0).float().mean().item(),
        "right on bone": right[truth > 0].mean().item(),
        "right on the rest": right[truth == 0].mean().item(),
    }


def of_fold(cohort: Cohort, run: Run, fold: int) -> pd.DataFrame:
    """The rows of one fold."""
    banks, tables = banks_of(run, cohort.training("labelled"), fold), []
    parts = {"unlabelled": cohort.known_unlabelled(), "test": cohort.split.test}
    for part, ids in parts.items():
        for case_id in ids:
            table = ask(run, cohort.case(case_id), banks, fold)
            tables.append(table.assign(fold=fold, part=part))
            print(f"fold {fold}: {part} {case_id}", flush=True)
    return pd.concat(tables, ignore_index=True)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over scans, and in how many scans each rule beats the teacher."""
    rules = table.groupby(["rule", "references"], sort=False)
    means = rules[["right", "bone", "says bone", "right on bone", "right on the rest"]].mean()
    wide = table.pivot_table(index=["fold", "scan"], columns=["rule", "references"], values="right")
    better = wide.gt(wide[("teacher", "")], axis=0).sum()
    return means.round(3).assign(better=better, scans=len(wide))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the pelves")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--folder", type=Path, default=cache_dir() / "studies")
    parser.add_argument("--file", type=Path, default=FILE)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for fold in args.folds:
        kept = sorted((args.folder / "pelves" / "same_batch" / "runs").glob(f"same_batch-{fold}-*"))
        if not kept:
            print(f"fold {fold}: its control is not trained yet (results/studies.py pelves)")
            continue
        cohort = STUDIES["pelves"].cohort(fold, args.data)
        new = of_fold(cohort, load_run(kept[-1]), fold).assign(**provenance())
        new = new.assign(command=without_folders(new["command"]))
        before = pd.read_csv(args.file) if args.file.is_file() else new.head(0)
        table = pd.concat([before[before["fold"] != fold], new]) if len(before) else new
        table = table.sort_values("fold", kind="stable")
        write_atomically(args.file, table.round(4).to_csv(index=False))
    print(summary(pd.read_csv(args.file, keep_default_na=False)).to_string())


if __name__ == "__main__":
    main()
