"""A run in the making: its steps, its validations and its checkpoints."""

import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ssltut.data.batch import Batch
from ssltut.data.case import Case
from ssltut.data.cohort import Cohort
from ssltut.data.labels import LabelTable
from ssltut.data.patches import Intensity, PatchPool
from ssltut.errors import DataWarning, TrainingError
from ssltut.files import write_atomically
from ssltut.interrupts import uninterrupted
from ssltut.methods.contract import Method, Plan, Progress, Supervision, Terms
from ssltut.metrics import HIGHER_IS_BETTER
from ssltut.nets.precision import auto_precision, best_device
from ssltut.seeding import derive_seed
from ssltut.training.batch_norm import N_BATCHES, precise_batch_norm
from ssltut.training.batches import draw_batch
from ssltut.training.checkpoint import (
    META,
    check_room,
    flatten_optimizer,
    load_checkpoint,
    load_net,
    restore_optimizer,
    save_checkpoint,
)
from ssltut.training.config import TrainConfig
from ssltut.training.history import history_row, total_loss
from ssltut.training.memory import check_training
from ssltut.training.networks import adam, build_nets, start_from, start_pretrained
from ssltut.training.processes import average_gradients, make_fabric, mean_row
from ssltut.training.run import circumstances, read_identity, run_identity
from ssltut.training.windows import validation_scores

if TYPE_CHECKING:
    from lightning_fabric import Fabric


ENOUGH = 6  # validation scans to choose weights by


@dataclass
class Training:
    """A run in the making: what every step needs, and what the steps so far have left."""

    method: Method
    config: TrainConfig
    folder: Path
    table: LabelTable
    fabric: "Fabric"
    labelled: PatchPool  # where patches are drawn from
    unlabelled: PatchPool | None
    validation: list[Case]  # the scans that are scored now and then
    intensity: Intensity
    nets: dict[str, nn.Module]
    optimizer: Any  # torch.optim.Adam as Fabric wraps it
    done: int = 0  # steps
    first: int = 0  # how many were done when this process began
    started: float = field(default_factory=time.monotonic)
    history: list[dict[str, float]] = field(default_factory=list)  # one row a step
    best: dict[str, Any] | None = None  # step, rule and score of the weights in best.safetensors

    def draw(self, step: int) -> Batch:
        """The batch of one step, the same whenever it is drawn."""
        pools = self.labelled, self.unlabelled
        return draw_batch(*pools, self.plan(step), self.config, self.table.n_classes, step)

    def plan(self, step: int) -> Plan:
        """The method's plan of one step; that of labels only, same batch, where it is idle."""
        default = Plan(self.config.labelled, self.config.unlabelled)
        progress = Progress(step, self.config.steps)
        return default if self.method.idle else self.method.plan(progress, default)

    def step(self, batch: Batch) -> Terms:
        """One step of the optimiser: the terms. Raises TrainingError for a non-finite one."""
        progress = Progress(self.done, self.config.steps)

        # Of several processes, each learns from its share of the patches, with its own dropout.
        rank, n = self.fabric.global_rank, self.fabric.world_size
        batch = batch.share(rank, n) if n > 1 else batch
        torch.manual_seed(derive_seed(self.config.seed, "dropout", self.done) + rank)

        # The loss is the weighted sum of the terms.
        acting = self.method.acting(batch, progress)
        with self.fabric.autocast():
            outs = acting.forward(batch, self.nets, progress)
            terms = acting.terms(batch, self.nets, outs, progress)
        check_finite(terms, batch, self.done, self.folder)

        # The learning rate is that of this step and role.
        rates = self.plan(self.done).rates
        decayed = self.config.lr * (1.0 - progress.frac) ** self.config.decay
        for group in self.optimizer.param_groups:
            group["lr"] = decayed * rates.get(group["role"], 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(total_loss(terms))
        average_gradients(self.fabric, self.optimizer)
        self.optimizer.step()

        # What follows the trained networks: EMA teachers, memories.
        acting.update(batch, self.nets, outs, progress)
        self.history.append(mean_row(self.fabric, history_row(self.done, terms)))
        self.done += 1
        return terms

    @property
    def validation_is_due(self) -> bool:
        """Whether the networks of now are to be validated and have not been."""
        due = self.done % self.config.validate_every == 0 or self.done == self.config.steps
        return self.done > 0 and due and "validation dice" not in self.history[-1]

    def validate(self) -> dict[str, float]:
        """Score the networks of now on the validation scans, and write a checkpoint of them.

        The first process does; the others wait for the scores.
        """
        scores: dict[str, float] = {}
        if self.fabric.is_global_zero:
            precise = self.precise()
            scores = validation_scores(
                self.method, precise, self.validation, self.intensity, self.config, self.table
            )
        scores = self.fabric.broadcast(scores)
        with uninterrupted():
            self.history[-1] |= {f"validation {name}": value for name, value in scores.items()}
            if self.fabric.is_global_zero:
                self.save(scores, precise)
        self.fabric.barrier()
        return scores

    def precise(self) -> Mapping[str, nn.Module]:
        """The networks of now with the batch-norm statistics of the last batches."""
        progress = Progress(self.done - 1, self.config.steps)
        batches = map(self.draw, range(max(0, self.done - N_BATCHES), self.done))
        with self.fabric.autocast():
            return precise_batch_norm(self.method, self.nets, batches, progress)

    def save(self, scores: Mapping[str, float], precise: Mapping[str, nn.Module]) -> None:
        """Write last.safetensors, to go on from, and best.safetensors (``precise``) if better."""
        rule = self.config.select
        sign = 1.0 if HIGHER_IS_BETTER.get(rule, True) else -1.0
        score = scores["dice" if rule == "last" else rule]
        better = rule == "last" or self.best is None or sign * score > sign * self.best["score"]
        if better:
            self.best = {"step": self.done, "rule": rule, "score": score}
            meta = self.meta | {"history": []}
            save_checkpoint(self.folder / "best.safetensors", states_of(precise), meta)
        self.save_last()

    def save_last(self) -> None:
        """Write last.safetensors, and in run.json that the run is finished, where it is."""
        if not self.fabric.is_global_zero:
            return
        last = states_of(self.nets) | {"optimizer": flatten_optimizer(self.optimizer)}
        save_checkpoint(self.folder / "last.safetensors", last, self.meta)
        self.note_the_end()

    @property
    def meta(self) -> dict[str, Any]:
        """What a checkpoint holds beside tensors."""
        return {
            "primary": next(iter(self.nets)),
            "step": self.done,
            "best": self.best,
            "history": self.history,
            "intensity": [self.intensity.mean, self.intensity.std],
        }

    def note_the_end(self) -> None:
        """Say in run.json that the run is finished, where it is."""
        if self.done == self.config.steps and not self.validation_is_due:
            identity = read_identity(self.folder) | {"finished": True}
            write_atomically(self.folder / "run.json", json.dumps(identity, indent=1))

    def resume(self) -> None:
        """Continue from last.safetensors where there is one."""
        file = self.folder / "last.safetensors"
        if not file.exists():
            return
        groups, meta = load_checkpoint(file, META)
        for role, net in self.nets.items():
            load_net(net, groups.get(f"net.{role}", {}), self.folder)
        restore_optimizer(self.optimizer, groups["optimizer"])
        self.done = self.first = meta["step"]
        self.history, self.best = meta["history"], meta["best"]
        self.note_the_end()  # it may have been killed just before

    def status(self) -> str:
        """One line after a validation, with the time left."""
        row = self.history[-1]
        seconds_a_step = (time.monotonic() - self.started) / max(1, self.done - self.first)
        minutes_left = seconds_a_step * (self.config.steps - self.done) / 60
        step = f"{self.method.title}: step {self.done}/{self.config.steps}"
        scores = f"Dice {row['validation dice']:.3f}, HD95 {row['validation hd95']:.1f} mm"
        loss = f"loss {row['total']:.3f}"
        return f"{step}, {loss}, validation {scores}, {minutes_left:.1f} min left"


def open_run(
    method: Method,
    cohort: Cohort,
    config: TrainConfig,
    folder: Path,
    *,
    init: Path | None = None,
    device: torch.device | None = None,
    log: Callable[[str], None] = print,
) -> Training:
    """Prepare the training of a run in ``folder``, or go on where its last checkpoint was written.

    ``device`` None: the best of this machine. Raises as ``train`` does; nothing is written before
    everything fits.
    """
    # Where to compute, and how precisely.
    device = device or best_device()
    precision: Any = auto_precision(device) if config.precision == "auto" else config.precision
    fabric = make_fabric(device, precision)

    # The scans, as pools of patches on the device.
    labelled = cohort.training("labelled")
    unlabelled = cohort.training("unlabelled")
    warn_of_a_lottery(cohort, config)
    warn_of_what_is_missing(method, labelled, unlabelled, cohort)
    intensity = Intensity.of([*labelled, *unlabelled])

    def pool(cases: list[Case]) -> PatchPool:
        return PatchPool(cases, intensity, config.patch, fabric.device, config.randomise)

    # The networks: weights of their own, those of the run in ``init``, or pre-trained ones.
    nets = build_nets(method, config, cohort.table.n_classes)
    if init is not None:
        start_from(nets, method, Path(init))
    if not (folder / "last.safetensors").exists():
        start_pretrained(nets, method, log)
    # Apple's convolutions have been wrong with channels last (ssltut.nets.build).
    layout = torch.contiguous_format if device.type == "mps" else torch.preserve_format
    for role, net in nets.items():
        nets[role] = net.to(fabric.device, memory_format=layout)  # type: ignore[call-overload]
    optimizer = adam(nets, config)
    semi = bool(unlabelled) and method.supervision is Supervision.SEMI
    drawn_from = labelled + unlabelled if semi else labelled
    check_training(method, nets, config, drawn_from, cohort.name)
    pools = pool(labelled), pool(unlabelled) if semi else None
    scans = cohort.validation()
    training = Training(
        method, config, folder, cohort.table, fabric, *pools, scans, intensity, nets, optimizer
    )

    # Everything fits: from here on the folder is this run's.
    if fabric.is_global_zero:
        check_room(folder, nets, optimizer)
        write_identity(folder, run_identity(method, config, cohort, init), log)
    training.resume()
    for role in method.trained:
        nets[role] = fabric.setup_module(nets[role])
    training.optimizer = fabric.setup_optimizers(optimizer)
    return training


def write_identity(folder: Path, identity: dict[str, Any], log: Callable[[str], None]) -> None:
    """Write run.json; a line where a run goes on with other threads, torch or machine."""
    now = circumstances()
    before = read_identity(folder) if (folder / "last.safetensors").exists() else {}
    changed = [
        f"{name} {before[name]} (now {value})"
        for name, value in now.items()
        if before.get(name, value) != value
    ]
    if changed:
        log(
            f"the run was begun with {', '.join(changed)}: the last digits of its values may differ"
        )
    write_atomically(folder / "run.json", json.dumps(identity | now, indent=1))


def warn_of_a_lottery(cohort: Cohort, config: TrainConfig) -> None:
    """A DataWarning where fewer than ENOUGH validation scans choose the weights."""
    n = len(cohort.split.validation)
    if config.select != "last" and n < ENOUGH:
        fix = f'give {ENOUGH} and more (Cohort.with_validation), or use select="last"'
        found = f"{n} validation scans choose the weights, which is close to chance"
        warnings.warn(DataWarning(found, where=cohort.name, fix=fix), stacklevel=3)


def warn_of_what_is_missing(
    method: Method, labelled: list[Case], unlabelled: list[Case], cohort: Cohort
) -> None:
    """A DataWarning for classes in no labelled scan, and for a lack of unlabelled scans."""
    names = cohort.table.names
    voxels = np.zeros(len(names), int)
    for case in labelled:
        assert case.label is not None, "labelled scans have labels"
        voxels += np.bincount(case.label.ravel(), minlength=len(names))
    if missing := [name for name, n in zip(names, voxels, strict=True) if n == 0]:
        found = f"{', '.join(missing)} is in none of the {len(labelled)} labelled scans"
        fix = "add a labelled scan with it; nothing can be learnt of it as it is"
        warnings.warn(DataWarning(found, where=cohort.name, fix=fix), stacklevel=3)
    if method.supervision is Supervision.SEMI and not unlabelled:
        found = f"{method.title} learns from unlabelled scans, and there are none"
        fix = "add scans to the unlabelled part of split.json, or train labels_only"
        warnings.warn(DataWarning(found, where=cohort.name, fix=fix), stacklevel=3)


def check_finite(terms: Terms, batch: Batch, step: int, folder: Path) -> None:
    """Raises TrainingError for a non-finite loss, and describes the batch in nonfinite.json."""
    bad = [name for name, term in terms.items() if not torch.isfinite(term.value)]
    if not bad:
        return
    report = {
        "step": step,
        "terms": {name: float(term.value.detach()) for name, term in terms.items()},
        "labelled": batch.ids_l,
        "unlabelled": batch.ids_u,
    }
    write_atomically(folder / "nonfinite.json", json.dumps(report, indent=1))
    scans = f"labelled {', '.join(batch.ids_l)}; unlabelled {', '.join(batch.ids_u) or 'none'}"
    what = f"loss term {', '.join(bad)} is not finite at step {step} ({scans})"
    fix = "look at these scans, lower lr, or use precision 32-true"
    raise TrainingError(what, where=folder, fix=fix)


def states_of(nets: Mapping[str, nn.Module]) -> dict[str, dict[str, torch.Tensor]]:
    return {f"net.{role}": net.state_dict() for role, net in nets.items()}
