"""A probe of the matching in training, for matching.py: who is right on the unreliable voxels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pandas as pd
import torch
from torch import Tensor, nn

from ssltut.data.batch import Batch
from ssltut.data.cohort import Cohort
from ssltut.data.patches import Intensity, PatchPool
from ssltut.errors import ConfigError
from ssltut.files import write_atomically
from ssltut.methods.contract import NetOutput, Nets, Progress, Term
from ssltut.methods.matching.embedding_matching import Assignment, EmbeddingMatching
from ssltut.methods.matching.vote import NeighbourVote
from ssltut.nets.modes import dropout_on
from ssltut.seeding import generator_for
from ssltut.training.callbacks import Callback
from ssltut.training.config import TrainConfig
from ssltut.training.loop import train
from ssltut.training.run import Run, cached_folder

Matching = EmbeddingMatching | NeighbourVote  # what can be probed
PATCHES = 4  # how many are looked at


@torch.no_grad()
def assignment(
    method: Matching, nets: Nets, batch: Batch, progress: Progress
) -> tuple[Assignment, Tensor]:
    """Where unlabelled voxels get their labels from now; the student's own (B, X, Y, Z) int64."""
    with dropout_on(nets["student"]):
        noise = batch.noise(method.sigma_student, "student", "unlabelled")
        out = nets["student"](noise(batch.unlabelled))
    outs = {"student": NetOutput(out, 0)} | method.teach(batch, nets)
    return method.assign(batch, nets, outs, progress), out.logits.argmax(1)


def accuracy_on_unreliable(
    method: Matching, nets: Nets, batch: Batch, truth: Tensor, progress: Progress
) -> dict[str, float]:
    """How often teacher, match and student are right on the unreliable voxels of ``batch.x_u``.

    ``truth`` (B, X, Y, Z) is known to us alone. Also the share of unreliable and of trusted voxels,
    and the pull of one matched voxel relative to one voxel of an ordinary mean.
    """
    found, student = assignment(method, nets, batch, progress)
    where, trusted = found.unreliable, found.trusted

    def right(label: Tensor, mask: Tensor) -> float:
        return (label == truth)[mask].float().mean().item() if mask.any() else float("nan")

    agrees = (found.match == student)[where].float().mean().item() if where.any() else float("nan")
    count = int(trusted.sum())
    # A term of the published form is a mean over its own voxels, so few of them pull hard.
    pull = truth.numel() / max(count, 1) if isinstance(method, EmbeddingMatching) else 1.0
    return {
        "unreliable share": where.float().mean().item(),
        "trusted share": trusted.float().mean().item(),
        "teacher right": right(found.teacher, where),
        "match right": right(found.match, where),
        "student right": right(student, where),
        "match right where trusted": right(found.match, trusted),
        "teacher right where reliable": right(found.teacher, ~where),
        "match agrees with student": agrees,
        "pull of a voxel": pull if count else 0.0,
    }


class Probe(Callback):
    """A callback of ``train`` that measures the matching on fixed patches every ``every`` steps.

    They are of unlabelled scans whose labels are known to us, else of validation scans. It draws
    from streams of its own, so training is the same with and without it. The table is kept in
    ``file``, also for a run that is found or continued; ``frame()`` returns it. Raises ConfigError
    for a method that matches no embeddings.
    """

    def __init__(
        self, method: Matching, cohort: Cohort, config: TrainConfig, *, every: int, file: Path
    ) -> None:
        if not isinstance(method, Matching):
            fix = "probe embedding_matching or neighbour_vote"
            raise ConfigError(f"{method.title} matches no embeddings", fix=fix)
        known = cohort.known_unlabelled() or cohort.split.validation
        intensity = Intensity.of([*cohort.training("labelled"), *cohort.training("unlabelled")])
        cases = [cohort.case(case_id) for case_id in known[:PATCHES]]
        pool = PatchPool(cases, intensity, config.patch, "cpu")
        drawn = pool.sample(PATCHES, generator_for("cpu", config.seed, "probe"))
        self.x, truth, self.ids, self.locations = drawn
        self.truth = cast(Tensor, truth)  # these scans have labels
        self.method, self.total, self.every, self.file = method, config.steps, every, file

    def on_step(
        self, step: int, nets: Mapping[str, nn.Module], batch: Batch, terms: Mapping[str, Term]
    ) -> None:
        if step % self.every == 0:
            x = self.x.to(batch.x_l.device)
            probed = replace(batch, x_u=x, ids_u=self.ids, locations_u=self.locations)
            truth, progress = self.truth.to(batch.x_l.device), Progress(step, self.total)
            found = accuracy_on_unreliable(self.method, nets, probed, truth, progress)
            weight = terms["match"].weight if "match" in terms else 0.0
            row = {"step": step, "match weight": weight} | found
            before = self.frame()
            rows = [] if before.empty else before[before["step"] < step].to_dict("records")
            write_atomically(self.file, pd.DataFrame([*rows, row]).to_csv(index=False))

    def frame(self) -> pd.DataFrame:
        """One row each ``every`` steps, columns as in ``accuracy_on_unreliable``."""
        return pd.read_csv(self.file) if self.file.exists() else pd.DataFrame()


def probed_run(
    method: Matching,
    cohort: Cohort,
    config: TrainConfig,
    *,
    every: int,
    init: Path | None = None,
    callbacks: Sequence[Callback] = (),
    log: Callable[[str], None] = print,
) -> tuple[Run, pd.DataFrame]:
    """``cached_run`` of a matching method, and the table of its ``Probe``."""
    folder = cached_folder(method, cohort, config, init)
    folder = folder.with_name(f"{folder.name}-probed-{every}")
    probe = Probe(method, cohort, config, every=every, file=folder / "probe.csv")
    run = train(method, cohort, config, folder, init=init, callbacks=[probe, *callbacks], log=log)
    return run, probe.frame()
