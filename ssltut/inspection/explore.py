"""Looking inside a trained network: uncertainty and embeddings of whole scans, correspondences, a
probe of the matching in training.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ssltut.data.batch import Batch
from ssltut.data.case import Case
from ssltut.data.cohort import Cohort
from ssltut.data.patches import Intensity, PatchPool
from ssltut.data.views import Noise
from ssltut.errors import ConfigError
from ssltut.files import write_atomically
from ssltut.methods.contract import Progress, Term
from ssltut.methods.matching.embedding_matching import Assignment
from ssltut.methods.matching.primitives import (
    draw_references,
    nearest,
    surface_shell,
    voxel_vectors,
)
from ssltut.methods.uncertainty import mc_dropout
from ssltut.nets.modes import dropout_on
from ssltut.seeding import derive_seed, generator_for
from ssltut.training.callbacks import Callback
from ssltut.training.loop import train
from ssltut.training.predict import sliding_window
from ssltut.training.run import Run, cached_folder


class UncertaintyMap(NamedTuple):
    """probabilities (C, X, Y, Z) mean of the passes; mean_of_entropies, entropy_of_mean (X, Y, Z)
    in nats; float32 arrays.
    """

    probabilities: np.ndarray
    mean_of_entropies: np.ndarray
    entropy_of_mean: np.ndarray


def uncertainty_map(
    run: Run,
    case: Case,
    *,
    role: str = "student",
    passes: int = 5,
    sigma: float = 0.01,
    seed: int = 0,
) -> UncertaintyMap:
    """MC-dropout uncertainty of a whole scan by sliding window, the same for one ``seed``. Raises
    ConfigError for an unknown ``role``.
    """
    net, state = net_of(run, role), {"window": 0}

    def forward(x: Tensor) -> Tensor:
        state["window"] += 1
        noise = [Noise(sigma, derive_seed(seed, state["window"], m)) for m in range(passes)]
        found = mc_dropout(net, (view(x) for view in noise))
        return torch.cat(
            [found.mean, found.mean_of_entropies[:, None], found.entropy_of_mean[:, None]], dim=1
        )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "dropout"))
        out = sliding_window(
            forward, run.intensity.normalise(case.image), run.config.patch, device_of(net)
        ).numpy()
    return UncertaintyMap(out[:-2], out[-2], out[-1])


def embedding_map(run: Run, case: Case, *, role: str = "student") -> Tensor:
    """Embeddings of every voxel of a scan, (D, X, Y, Z) float32. Raises ConfigError for an unknown
    ``role``.
    """
    net = net_of(run, role)
    return sliding_window(
        lambda x: net(x).feats["embedding"],
        run.intensity.normalise(case.image),
        run.config.patch,
        device_of(net),
    )


def net_of(run: Run, role: str) -> nn.Module:
    if role not in run.method.networks:
        raise ConfigError(
            f"the run has no network {role!r}",
            where=run.folder,
            fix=f"use one of {', '.join(run.method.networks)}",
        )
    return run.nets[role].eval()


def device_of(net: nn.Module) -> torch.device:
    return next(net.parameters()).device


class Correspondences(NamedTuple):
    """For N query voxels of one scan, their nearest reference voxels in another.

    query (N, 3) voxel indices; reference (N, k, 3) voxel indices in the labelled scan; similarity
    (N, k) cosine, best first; reference_class (N, k); vote (N, C) share of the k neighbours.
    """

    query: np.ndarray
    reference: np.ndarray
    similarity: np.ndarray
    reference_class: np.ndarray
    vote: np.ndarray


def correspond(
    embedding: Tensor,
    query: np.ndarray,
    labelled_embedding: Tensor,
    label: np.ndarray,
    *,
    k: int = 9,
    band: int = 2,
    references: int = 600,
    n_classes: int,
    seed: int = 0,
) -> Correspondences:
    """Match voxels ``query`` (N, 3) of one scan to surface voxels of a labelled scan by cosine
    similarity of their embeddings (D, X, Y, Z).

    ``references`` voxels of each class are drawn from the surface band of ``label`` (X, Y, Z).
    """
    y = torch.as_tensor(label.astype(np.int64))[None]
    drawn = draw_references(
        y,
        surface_shell(y, band),
        n_classes,
        k=references,
        redraws=1,
        generator=generator_for("cpu", seed, "correspond"),
    )
    flat = drawn.index[drawn.present].flatten()
    classes = y.flatten()[flat]
    bank = voxel_vectors(labelled_embedding[None])[flat]
    vectors = embedding[:, query[:, 0], query[:, 1], query[:, 2]].T.contiguous()
    similarity, index = nearest(vectors, bank, k)
    place = np.stack(np.unravel_index(flat[index].numpy(), label.shape), axis=-1)
    vote = torch.nn.functional.one_hot(classes[index], n_classes).float().mean(1)
    return Correspondences(query, place, similarity.numpy(), classes[index].numpy(), vote.numpy())


@torch.no_grad()
def assignment(
    method, nets: Mapping[str, nn.Module], batch: Batch, progress: Progress
) -> tuple[Assignment, Tensor]:
    """Where the unlabelled voxels of ``batch`` would get their labels from now, and the student's
    own labels of them, (B, X, Y, Z) int64.
    """
    if "memory" in nets:
        nets = {**nets, "memory": copy.deepcopy(nets["memory"])}  # looking must not fill it
    with dropout_on(nets["student"]):
        out = nets["student"](batch.noise(method.sigma_student, "student", "unlabelled")(batch.x_u))
    return method.assign(
        batch, nets, progress, method.vectors(out, batch.locations_u)
    ), out.logits.argmax(1)


def accuracy_on_unreliable(
    method, nets: Mapping[str, nn.Module], batch: Batch, truth: Tensor, progress: Progress
) -> dict[str, float]:
    """How often teacher, match and student are right on the unreliable voxels of ``batch.x_u``;
    truth (B, X, Y, Z) is known to us alone.

    Also the share of unreliable and of trusted voxels, and the pull of one matched voxel relative
    to one voxel of an ordinary mean.
    """
    found, student = assignment(method, nets, batch, progress)
    where, trusted = found.unreliable, found.trusted

    def right(label: Tensor, mask: Tensor) -> float:
        return (label == truth)[mask].float().mean().item() if mask.any() else float("nan")

    count = int(trusted.sum())
    return {
        "unreliable share": where.float().mean().item(),
        "trusted share": trusted.float().mean().item(),
        "teacher right": right(found.teacher, where),
        "match right": right(found.match, where),
        "student right": right(student, where),
        "match right where trusted": right(found.match, trusted),
        "teacher right where reliable": right(found.teacher, ~where),
        "match agrees with student": (
            (found.match == student)[where].float().mean().item() if where.any() else float("nan")
        ),
        "pull of a voxel": (
            (truth.numel() / max(count, 1) if method.normalise == "set" else 1.0) if count else 0.0
        ),
    }


class Probe(Callback):
    """A callback of ``train``: every ``every`` steps it measures the matching on fixed patches of
    scans whose truth we keep.

    These are unlabelled scans where their labels are known to us, else validation scans. It draws
    from streams of its own, so training is the same with and without it. The table is kept in
    ``file``, so that a run that is found or continued has it too; ``frame()`` returns it. Raises
    ConfigError for a method that matches no embeddings.
    """

    def __init__(
        self,
        method,
        cohort: Cohort,
        config,
        *,
        every: int,
        file: Path,
        patches: int = 4,
    ) -> None:
        if not hasattr(method, "assign"):
            raise ConfigError(
                f"{method.title} matches no embeddings",
                fix="probe embedding_matching or neighbour_vote",
            )
        known = cohort.known_unlabelled() or cohort.split.validation
        intensity = Intensity.of([*cohort.training("labelled"), *cohort.training("unlabelled")])
        pool = PatchPool(
            [cohort.case(case_id) for case_id in known[:patches]], intensity, config.patch, "cpu"
        )
        self.x, self.truth, _, self.locations = pool.sample(
            patches, generator_for("cpu", config.seed, "probe")
        )
        self.method = method
        self.total = config.steps
        self.every = every
        self.file = file

    def on_step(
        self, step: int, nets: Mapping[str, nn.Module], batch: Batch, terms: Mapping[str, Term]
    ) -> None:
        if step % self.every == 0:
            probed = replace(batch, x_u=self.x.to(batch.x_l.device), locations_u=self.locations)
            found = accuracy_on_unreliable(
                self.method,
                nets,
                probed,
                self.truth.to(batch.x_l.device),
                Progress(step, self.total),
            )
            row = {
                "step": step,
                "match weight": terms["match"].weight if "match" in terms else 0.0,
            } | found
            before = self.frame()
            rows = [] if before.empty else before[before["step"] < step].to_dict("records")
            write_atomically(self.file, pd.DataFrame([*rows, row]).to_csv(index=False))

    def frame(self) -> pd.DataFrame:
        """One row each ``every`` steps, columns as in ``accuracy_on_unreliable``."""
        return pd.read_csv(self.file) if self.file.exists() else pd.DataFrame()


def probed_run(
    method,
    cohort: Cohort,
    config,
    *,
    every: int,
    init: Path | None = None,
    callbacks: Sequence[Callback] = (),
    log=print,
) -> tuple[Run, pd.DataFrame]:
    """``cached_run`` of a matching method, and the table of its ``Probe``.

    ``callbacks`` as in ``train``.
    """
    folder = cached_folder(method, cohort, config, init)
    folder = folder.with_name(f"{folder.name}-probed-{every}")
    probe = Probe(method, cohort, config, every=every, file=folder / "probe.csv")
    run = train(method, cohort, config, folder, init=init, callbacks=[probe, *callbacks], log=log)
    return run, probe.frame()
