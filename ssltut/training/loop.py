"""The one training loop, and finished runs read back."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from ssltut.data.batch import Batch
from ssltut.data.case import Case
from ssltut.data.cohort import Cohort
from ssltut.data.components import remove_small_components
from ssltut.data.labels import LabelTable, table_named
from ssltut.data.patches import Intensity, PatchPool
from ssltut.data.resample import resample
from ssltut.errors import CheckpointError, ConfigError, TrainingError
from ssltut.files import cache_dir, digest_of, write_atomically
from ssltut.methods.contract import Method, Plan, Progress, Supervision, Term
from ssltut.methods.registry import make_method
from ssltut.metrics import HIGHER_IS_BETTER, score_case
from ssltut.nets.build import build_net
from ssltut.seeding import derive_seed, generator_for
from ssltut.training.batch_norm import N_BATCHES, precise_batch_norm
from ssltut.training.callbacks import Callback
from ssltut.training.checkpoint import (
    flatten_optimizer,
    load_checkpoint,
    load_net,
    load_pretrained,
    restore_optimizer,
    save_checkpoint,
)
from ssltut.training.config import TrainConfig
from ssltut.training.history import history_row
from ssltut.training.predict import predict_label, predict_probabilities


@dataclass
class Run:
    """A trained method: everything needed to predict, and what happened on the way.

    history   one row per step: every term's value, weight and share, the total, and the validation
              score where there was one
    selected  step, rule and validation score of the weights in ``nets``
    spacing   voxel size in mm the training scans were resampled to, None for that of the files
    """

    method: Method
    config: TrainConfig
    nets: dict[str, nn.Module]
    intensity: Intensity
    table: LabelTable
    history: pd.DataFrame
    selected: dict[str, object]
    folder: Path
    spacing: float | None = None

    def predict(self, case: Case, min_component: float = 0.0) -> np.ndarray:
        """Label map (X, Y, Z) uint8 of a scan, by sliding window, without pieces of less than
        ``min_component`` of the largest of their class.
        """
        found = self.probabilities(case).argmax(0).astype(np.uint8)
        return (
            remove_small_components(
                torch.from_numpy(found)[None], self.table.n_classes, min_component
            )[0].numpy()
            if min_component
            else found
        )

    def probabilities(self, case: Case) -> np.ndarray:
        """Class probabilities (C, X, Y, Z) float32 of a scan, on its own grid whatever voxel size
        the run was trained at.
        """
        seen = (
            case
            if self.spacing is None
            else resample(case.without_label(), (self.spacing,) * 3, self.table.n_classes)
        )
        found = predict_probabilities(
            self.method, self.nets, seen, self.intensity, self.config.patch
        )
        if seen is not case and seen.image.shape != case.image.shape:
            found = nn.functional.interpolate(found[None], case.image.shape, mode="trilinear")[0]
        return found.numpy()


def auto_precision(device: torch.device) -> str:
    """bf16 where it is fast: CUDA that supports it (fp16 on older cards), a CPU with AMX; fp32
    elsewhere.
    """
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return (
        "bf16-mixed" if device.type == "cpu" and torch.cpu._is_amx_tile_supported() else "32-true"
    )


def build_nets(method: Method, config: TrainConfig, n_classes: int) -> dict[str, nn.Module]:
    """One network per role, then the method's own modules. EMA roles start as copies; trained roles
    each draw their own weights.
    What of it learns requires a gradient.
    """
    nets: dict[str, nn.Module] = {}
    for role, spec in method.networks.items():
        seed, model = (
            derive_seed(config.seed, "init", spec.ema_of or role),
            method.networks[spec.ema_of or role],
        )
        arch = model.arch or config.arch
        if config.arch.endswith("2d") and ":" not in arch:
            arch = f"{arch.removesuffix('2d')}2d"
        size = {name: getattr(config, name) for name in ("width", "depth", "dropout", "norm")}
        nets[role] = build_net(arch, 1, n_classes, **size, seed=seed, heads=model.heads)
        nets[role].train(spec.ema_of is None or spec.mode == "train").requires_grad_(
            spec.ema_of is None
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "init", "extra"))
        return nets | method.extra_modules(next(iter(nets.values())), n_classes)


def run_identity(
    method: Method, config: TrainConfig, cohort: Cohort, init: Path | None
) -> dict[str, object]:
    """What decides a run's result; two runs with the same hash are the same run."""
    identity = {
        **method.identity,
        "config": config.to_dict(),
        "cohort": cohort.hash,
        "table": cohort.table.to_dict(),
        "spacing": cohort.spacing,
        "init": None if init is None else identity_of(Path(init))["hash"],
    }
    if given := [spec.weights for spec in method.networks.values() if spec.weights]:
        identity["weights"] = [
            digest_of(path / "best.safetensors" if path.is_dir() else path)
            for path in map(Path, given)
        ]
    text = json.dumps(identity, sort_keys=True)
    return identity | {"hash": hashlib.sha256(text.encode()).hexdigest()[:12]}


def draw_batch(
    labelled: PatchPool,
    unlabelled: PatchPool | None,
    plan: Plan,
    config: TrainConfig,
    n_classes: int,
    step: int,
) -> Batch:
    """The batch of one step. Labelled and unlabelled patches have random streams of their own, so
    neither disturbs the other.
    """
    draws = {
        kind: generator_for(labelled.device, config.seed, "batch", kind, step)
        for kind in ("labelled", "unlabelled")
    }
    x_l, y_l, ids_l, locations_l = labelled.sample(plan.labelled, draws["labelled"])
    x_u, ids_u, locations_u = None, (), ()
    if unlabelled is not None and plan.unlabelled:
        x_u, _, ids_u, locations_u = unlabelled.sample(plan.unlabelled, draws["unlabelled"])
    return Batch(
        x_l,
        y_l,
        x_u,
        ids_l,
        ids_u,
        n_classes,
        derive_seed(config.seed, "views", step),
        locations_l,
        locations_u,
        labelled.known(ids_l, n_classes),
    )


def validate(
    method: Method,
    nets: Mapping[str, nn.Module],
    cases: list[Case],
    intensity: Intensity,
    config: TrainConfig,
    table,
) -> dict:
    """Mean Dice and HD95 (mm) over the foreground classes of the validation scans."""
    rows = [
        row
        for case in cases
        for row in score_case(
            predict_label(method, nets, case, intensity, config.patch),
            case.label,
            case.spacing,
            table.names,
        )
    ]
    frame = pd.DataFrame(rows, columns=["class", "metric", "value", "status"])
    return {
        metric: float(frame.loc[frame.metric == metric, "value"].mean())
        for metric in ("dice", "hd95")
    }


def check_finite(terms: Mapping[str, Term], batch: Batch, step: int, folder: Path) -> None:
    """Stops at the first non-finite loss, naming the term and the scans; the batch is described in
    nonfinite.json.
    """
    bad = [name for name, term in terms.items() if not torch.isfinite(term.value)]
    if bad:
        report = {
            "step": step,
            "terms": {n: float(t.value.detach()) for n, t in terms.items()},
            "labelled": batch.ids_l,
            "unlabelled": batch.ids_u,
        }
        write_atomically(folder / "nonfinite.json", json.dumps(report, indent=1))
        raise TrainingError(
            f"loss term {', '.join(bad)} is not finite at step {step} "
            f"(labelled {', '.join(batch.ids_l)}; unlabelled {', '.join(batch.ids_u) or 'none'})",
            where=folder,
            fix="look at these scans, lower lr, or use precision 32-true",
        )


def train(
    method: Method,
    cohort: Cohort,
    config: TrainConfig,
    folder: Path,
    *,
    init: Path | None = None,
    callbacks: Sequence[Callback] = (),
    log: Callable[[str], None] = print,
    stop_after: int | None = None,
) -> Run:
    """Train ``method`` on ``cohort`` and leave the run in ``folder``; a finished one is read, an
    unfinished one continued bit for bit.

    init        folder of a run whose predicting network all roles start from (None: from scratch,
                as published)
    callbacks   called after every step and validation and at the end (training.callbacks)
    stop_after  stop before this step, as if killed (the run can be continued later)
    Raises ConfigError when ``folder`` holds another run, CheckpointError when its files are
    damaged, TrainingError on a non-finite loss.
    """
    from lightning_fabric import Fabric

    folder = Path(folder)
    identity = run_identity(method, config, cohort, init)
    if finished(folder, identity):
        log(f"found the finished run {folder.name} ({method.title})")
        return load_run(folder)
    fabric = Fabric(
        accelerator="auto",
        devices=1,
        precision="32-true" if config.precision == "auto" else config.precision,
    )
    if config.precision == "auto" and auto_precision(fabric.device) != "32-true":
        fabric = Fabric(accelerator="auto", devices=1, precision=auto_precision(fabric.device))
    n_classes, table = cohort.table.n_classes, cohort.table
    labelled_cases, unlabelled_cases, validation = (
        cohort.training("labelled"),
        cohort.training("unlabelled"),
        cohort.validation(),
    )
    intensity = Intensity.of([*labelled_cases, *unlabelled_cases])
    labelled = PatchPool(labelled_cases, intensity, config.patch, fabric.device, config.randomise)
    wanted = unlabelled_cases and method.supervision is Supervision.SEMI
    unlabelled = (
        PatchPool(unlabelled_cases, intensity, config.patch, fabric.device, config.randomise)
        if wanted
        else None
    )

    nets = build_nets(method, config, n_classes)
    if init is not None:
        start_from(nets, method, Path(init))
    if not (folder / "last.safetensors").exists():
        start_pretrained(nets, method, log)
    for role, net in nets.items():
        nets[role] = net.to(fabric.device)
    groups = [
        {"params": [p for p in net.parameters() if p.requires_grad], "role": role}
        for role, net in nets.items()
    ]
    optimizer = torch.optim.Adam(
        [group for group in groups if group["params"]], lr=config.lr, betas=config.betas
    )
    write_atomically(
        folder / "run.json", json.dumps(identity, indent=1)
    )  # from here on the folder is this run's
    state = resume(folder, nets, optimizer)
    for role in method.trained:
        nets[role] = fabric.setup_module(nets[role])
    optimizer = fabric.setup_optimizers(optimizer)

    def planned(step: int) -> Plan:
        default = Plan(config.labelled, config.unlabelled)
        return method.plan(Progress(step, config.steps), default)

    def draw(step: int) -> Batch:
        return draw_batch(labelled, unlabelled, planned(step), config, n_classes, step)

    started = time.monotonic()
    for step in range(state["step"], config.steps):
        if step == stop_after:
            break
        progress = Progress(step, config.steps)
        torch.manual_seed(derive_seed(config.seed, "dropout", step))
        batch = draw(step)
        with fabric.autocast():
            outs = method.forward(batch, nets, progress)
            terms = method.terms(batch, nets, outs, progress)
        check_finite(terms, batch, step, folder)
        total = sum(term.weight * term.value for term in terms.values() if term.weight)
        rates = planned(step).rates
        for group in optimizer.param_groups:
            group["lr"] = (
                config.lr * (1.0 - progress.frac) ** config.decay * rates.get(group["role"], 1.0)
            )
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(total)
        optimizer.step()
        method.update(batch, nets, outs, progress)
        state["history"].append(history_row(step, total, terms))
        for callback in callbacks:
            callback.on_step(step, nets, batch, terms)
        if (step + 1) % config.validate_every == 0 or step + 1 == config.steps:
            with fabric.autocast():
                batches = map(draw, range(max(0, step + 1 - N_BATCHES), step + 1))
                precise = precise_batch_norm(method, nets, batches, progress)
            score = validate(method, precise, validation, intensity, config, table)
            for callback in callbacks:
                callback.on_validation(step, score)
            keep(folder, step, score, state, nets, precise, optimizer, config, intensity)
            left = (
                (time.monotonic() - started)
                / (step + 1 - state["first"])
                * (config.steps - step - 1)
            )
            log(
                f"{method.title}: step {step + 1}/{config.steps}, loss {float(total.detach()):.3f},"
                f" validation Dice {score['dice']:.3f}, HD95 {score['hd95']:.1f} mm,"
                f" {left / 60:.1f} min left"
            )
    run = load_run(folder)
    if stop_after is None:
        for callback in callbacks:
            callback.on_end(run)
    return run


def finished(folder: Path, identity: dict[str, object]) -> bool:
    """True when this very run is in ``folder`` and done. Raises ConfigError when the folder holds
    another run, or other files.
    """
    if not (folder / "run.json").exists():
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(
                "the folder is not empty and holds no run", where=folder, fix="choose a new folder"
            )
        return False
    found = identity_of(folder)
    if found["hash"] != identity["hash"]:
        raise ConfigError(
            f"the folder holds another run ({found['method']}, {found['hash']})",
            where=folder,
            fix="choose another folder",
        )
    return bool(found.get("finished"))


def identity_of(folder: Path) -> dict:
    """What run.json says. Raises CheckpointError when it is missing or damaged."""
    if not (folder / "run.json").is_file():
        raise CheckpointError(
            "there is no run here", where=folder, fix="give the folder that ssltut train wrote"
        )
    try:
        found = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return {key: found[key] for key in ("method", "options", "config", "table", "hash")} | found
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(
            "run.json is damaged", where=folder, fix="delete the folder and train again"
        ) from None


def start_from(nets: dict[str, nn.Module], method: Method, init: Path) -> None:
    """Give every role the weights of the predicting network of the run in ``init``.

    Heads start anew, as that run may have had others, and so do networks that a method wants of
    another kind or prompted.
    """
    groups, meta = load_checkpoint(init / "best.safetensors")
    body = {
        name: t
        for name, t in groups[f"net.{meta['primary']}"].items()
        if not name.startswith("heads.")
    }
    models = {role: method.networks[spec.ema_of or role] for role, spec in method.networks.items()}
    for role in (
        role
        for role, model in models.items()
        if model.arch is None and not any(head.prompts for head in model.heads.values())
    ):
        heads = {
            name: t for name, t in nets[role].state_dict().items() if name.startswith("heads.")
        }
        load_net(nets[role], body | heads, init)


def start_pretrained(
    nets: Mapping[str, nn.Module], method: Method, log: Callable[[str], None]
) -> None:
    """Give the roles that ask for them their pre-trained weights, or say that there are none."""
    for role, spec in method.networks.items():
        if spec.weights:
            load_pretrained(nets[role], Path(spec.weights))
        elif spec.weights is not None:
            log(
                f"{method.title}: the network {role!r} starts at random, as no pre-trained weights"
                " were given (option weights)"
            )


def resume(folder: Path, nets: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict:
    """Continue from last.safetensors where there is one."""
    state = {"step": 0, "first": 0, "history": [], "best": None}
    if (folder / "last.safetensors").exists():
        groups, meta = load_checkpoint(folder / "last.safetensors")
        for role, net in nets.items():
            load_net(net, groups.get(f"net.{role}", {}), folder)
        restore_optimizer(optimizer, groups["optimizer"])
        state |= {
            "step": meta["step"],
            "first": meta["step"],
            "history": meta["history"],
            "best": meta["best"],
        }
    return state


def keep(
    folder: Path,
    step: int,
    score: dict,
    state: dict,
    nets: Mapping[str, nn.Module],
    precise: Mapping[str, nn.Module],
    optimizer,
    config: TrainConfig,
    intensity: Intensity,
) -> None:
    """Write last.safetensors with ``nets``, and best.safetensors with ``precise`` when the
    selection rule prefers this step.
    """
    state["history"][-1] |= {f"validation {name}": value for name, value in score.items()}
    rule = config.select
    sign = 1.0 if HIGHER_IS_BETTER.get(rule, True) else -1.0
    if (
        rule == "last"
        or state["best"] is None
        or sign * score[rule] > sign * state["best"]["score"]
    ):
        state["best"] = {
            "step": step + 1,
            "rule": rule,
            "score": score["dice" if rule == "last" else rule],
        }
    groups, best = (
        {f"net.{role}": net.state_dict() for role, net in found.items()}
        for found in (nets, precise)
    )
    meta = {
        "primary": next(iter(nets)),
        "step": step + 1,
        "best": state["best"],
        "history": state["history"],
        "intensity": [intensity.mean, intensity.std],
    }
    if state["best"]["step"] == step + 1:
        save_checkpoint(folder / "best.safetensors", best, meta | {"history": []})
    save_checkpoint(
        folder / "last.safetensors", groups | {"optimizer": flatten_optimizer(optimizer)}, meta
    )
    if step + 1 == config.steps:
        write_atomically(
            folder / "run.json", json.dumps(identity_of(folder) | {"finished": True}, indent=1)
        )


def load_run(folder: Path) -> Run:
    """The run in ``folder`` with the weights its selection rule chose. Raises CheckpointError when
    there is none.
    """
    folder = Path(folder)
    identity = identity_of(folder)
    groups, meta = load_checkpoint(folder / "best.safetensors")
    _, last = load_checkpoint(folder / "last.safetensors")
    method, config = (
        make_method(identity["method"], identity["options"]),
        TrainConfig.from_dict(identity["config"]),
    )
    table = table_named(identity["table"])
    nets = build_nets(method, config, table.n_classes)
    for role, net in nets.items():
        load_net(net, groups.get(f"net.{role}", {}), folder)
        net.eval()
    return Run(
        method,
        config,
        nets,
        Intensity(*meta["intensity"]),
        table,
        pd.DataFrame(last["history"]),
        last["best"],
        folder,
        identity.get("spacing"),
    )


def cached_folder(
    method: Method, cohort: Cohort, config: TrainConfig, init: Path | None = None
) -> Path:
    """Where the cache keeps this run."""
    return (
        cache_dir() / "runs" / f"{method.name}-{run_identity(method, config, cohort, init)['hash']}"
    )


def cached_run(
    method: Method,
    cohort: Cohort,
    config: TrainConfig,
    *,
    init: Path | None = None,
    callbacks: Sequence[Callback] = (),
    log: Callable[[str], None] = print,
) -> Run:
    """``train`` in the cache: the notebooks' way to share runs. What an earlier notebook trained is
    found, the rest is trained now.
    """
    return train(
        method,
        cohort,
        config,
        cached_folder(method, cohort, config, init),
        init=init,
        callbacks=callbacks,
        log=log,
    )
