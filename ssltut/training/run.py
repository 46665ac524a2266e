"""A run: what identifies it, where it lies, and a finished one read back."""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ssltut.data.case import VOXEL_SIZES, Case
from ssltut.data.cohort import Cohort
from ssltut.data.components import remove_small_components
from ssltut.data.labels import LabelTable, table_named
from ssltut.data.patches import Intensity
from ssltut.data.resample import resample
from ssltut.errors import CheckpointError, ConfigError, DataError
from ssltut.files import cache_dir, digest_of, holds_files, read_json
from ssltut.methods.contract import Method
from ssltut.methods.registry import make_method
from ssltut.options import check_content
from ssltut.training.checkpoint import META, load_checkpoint, load_net
from ssltut.training.config import TrainConfig
from ssltut.training.memory import check_prediction
from ssltut.training.networks import build_nets
from ssltut.training.processes import n_processes
from ssltut.training.windows import most_probable, predict_probabilities


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
    selected: dict[str, Any]
    folder: Path
    spacing: float | None = None

    def predict(
        self, case: Case, min_component: float = 0.0, *, progress: bool = False
    ) -> np.ndarray:
        """Label map (X, Y, Z) uint8 of a scan, by sliding window.

        ``min_component`` leaves out the components that are smaller than this share of the largest
        of their class. ``progress`` draws a bar of the windows.
        """
        label = self._predicted(case, most_probable, progress)
        if not min_component:
            return label.numpy()
        return remove_small_components(label[None], self.table.n_classes, min_component)[0].numpy()

    def probabilities(self, case: Case, *, progress: bool = False) -> np.ndarray:
        """Class probabilities (C, X, Y, Z) float32 of a scan, on its own grid.

        Raises CheckpointError when they are not finite.
        """
        return self._predicted(case, torch.Tensor.clone, progress).numpy()

    def _predicted(
        self, case: Case, keep: Callable[[torch.Tensor], torch.Tensor], progress: bool
    ) -> torch.Tensor:
        """What ``keep`` makes of the probabilities of a scan, or of some of its layers."""
        scaled = case
        if self.spacing is not None:
            scaled = resample(case.without_label(), (self.spacing,) * 3, self.table.n_classes)
        is_scaled = scaled.image.shape != case.image.shape
        net = next(iter(self.nets.values()))
        labels = keep is most_probable and not is_scaled
        besides = 4 * self.table.n_classes * case.image.size if is_scaled else 0
        check_prediction(net, scaled, self.table.n_classes, self.config.patch, labels, besides)

        def checked(p: torch.Tensor) -> torch.Tensor:
            if not torch.isfinite(p).all():
                what = f"the network gives {case.id} probabilities that are not finite"
                fix = "look at the scan, or train again"
                raise CheckpointError(what, where=self.folder, fix=fix)
            return keep(p)

        predict = partial(predict_probabilities, self.method, self.nets, scaled, self.intensity)
        if not is_scaled:
            return predict(self.config.patch, keep=checked, progress=progress)
        p = predict(self.config.patch, progress=progress)
        return checked(nn.functional.interpolate(p[None], case.image.shape, mode="trilinear")[0])


IDENTITY = {  # what run.json holds
    "method": str,
    "options": dict[str, Any],
    "config": dict[str, Any],
    "table": dict[str, Any],
    "hash": str,
    "spacing": Annotated[float, VOXEL_SIZES] | None,
    "finished": bool,
    "left out": list[str],
}


def run_identity(
    method: Method, config: TrainConfig, cohort: Cohort, init: Path | None
) -> dict[str, Any]:
    """What decides a run's result; two runs with the same hash are the same run."""
    identity = {
        **method.identity,
        "config": config.to_dict(),
        "cohort": cohort.hash,
        "table": cohort.table.to_dict(),
        "spacing": cohort.spacing,
        "init": None if init is None else read_identity(Path(init))["hash"],
    }
    given = [Path(spec.weights) for spec in method.networks.values() if spec.weights]
    if given:
        files = [path / "best.safetensors" if path.is_dir() else path for path in given]
        identity["weights"] = [digest_of(file) for file in files]
    text = json.dumps(identity, sort_keys=True)
    return identity | {"hash": hashlib.sha256(text.encode()).hexdigest()[:12]}


def circumstances() -> dict[str, Any]:
    """What may change the last bits of a run, or its speed, and is no part of its identity."""
    gpu = torch.cuda.is_available()
    chip = torch.cuda.get_device_name(0) if gpu else torch.backends.cpu.get_cpu_capability()
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processes": n_processes(),
        "machine": f"{platform.system()} {platform.machine()}, {chip}",
    }


def read_identity(folder: Path) -> dict[str, Any]:
    """The content of run.json. Raises CheckpointError when it is missing or damaged."""
    file = folder / "run.json"
    if not os.path.lexists(file):
        fix = "give the folder that ssltut train wrote"
        raise CheckpointError("there is no run here", where=folder, fix=fix)
    try:
        content = read_json(file)
        check_content(content, IDENTITY, file, ("method", "options", "config", "table", "hash"))
        return content
    except DataError as error:
        what, fix = f"run.json is damaged ({error.found})", "delete the folder and train again"
        raise CheckpointError(what, where=folder, fix=fix) from None


def is_finished(folder: Path, identity: dict[str, Any]) -> bool:
    """True when this very run is in ``folder`` and done.

    Raises ConfigError when the folder holds another run, or other files.
    """
    if not (folder / "run.json").exists():
        if holds_files(folder):
            what = "the folder holds files, but not a run"
            raise ConfigError(what, where=folder, fix="choose a new folder")
        return False
    present = read_identity(folder)
    if present["hash"] != identity["hash"]:
        what = f"the folder holds another run ({present['method']}, {present['hash']})"
        raise ConfigError(what, where=folder, fix="choose another folder")
    return bool(present.get("finished"))


def cached_folder(
    method: Method, cohort: Cohort, config: TrainConfig, init: Path | None = None
) -> Path:
    """Where the cache keeps this run."""
    identity = run_identity(method, config, cohort, init)
    return cache_dir() / "runs" / f"{identity['method']}-{identity['hash']}"


def check_finished(folder: Path) -> None:
    """Raise CheckpointError for a run that was stopped before its last step."""
    identity = read_identity(folder)
    if not identity.get("finished"):
        _, last = load_checkpoint(folder / "last.safetensors", META)
        what = f"not finished: {last['step']} of {identity['config'].get('steps')} steps"
        fix = "give the command of its training again, or take it as it is (--unfinished)"
        raise CheckpointError(what, where=folder, fix=fix)


def load_run(folder: Path, *, unfinished: bool = False) -> Run:
    """The run in ``folder`` with the weights its selection rule chose.

    ``unfinished`` takes one that was stopped, too. Raises CheckpointError when there is none, or
    its files are damaged or of two runs.
    """
    folder = Path(folder)
    identity = read_identity(folder)
    if not unfinished:
        check_finished(folder)
    file = folder / "best.safetensors"
    groups, meta = load_checkpoint(file, META)
    _, last = load_checkpoint(folder / "last.safetensors", META)
    # Killed between the two files, a run has a newer best than its last step.
    if identity.get("finished") and meta["best"] != last["best"]:
        what = f"the weights are of step {meta['step']}, last.safetensors chose {last['best']}"
        fix = "copy both files from one run, or train again"
        raise CheckpointError(what, where=file, fix=fix)
    method = make_method(identity["method"], identity["options"])
    config = TrainConfig.from_dict(identity["config"])
    table = table_named(identity["table"])
    nets = build_nets(method, config, table.n_classes)
    for role in identity.get("left out", ()):  # a run that ships has what predicts
        nets.pop(role, None)
    for role, net in nets.items():
        load_net(net, groups.get(f"net.{role}", {}), folder)
        net.eval()
    intensity = Intensity(*meta["intensity"])
    if not intensity.std > 0:
        what = f"the grey values are scaled by a standard deviation of {intensity.std:g}"
        raise CheckpointError(what, where=file, fix="train again")
    history = pd.DataFrame(last["history"])
    spacing = identity.get("spacing")
    return Run(method, config, nets, intensity, table, history, meta["best"], folder, spacing)
