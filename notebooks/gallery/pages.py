"""One page a method: its training, its picture on one scan, its term in code, its result."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pkgutil import resolve_name
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from ssltut.data.batch import Batch, PatchLocation
from ssltut.data.case import Case
from ssltut.data.cohort import Cohort
from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.methods.contract import FIDELITIES, Method, Nets, Progress
from ssltut.methods.registry import make_method
from ssltut.show.static.pictures import Picture, picture
from ssltut.show.static.slices import grid
from ssltut.training.config import TrainConfig
from ssltut.training.loop import cached_run
from ssltut.training.run import Run

STEP = 8  # voxels: sides of a scan are cut to multiples of it
LARGEST = 96  # voxels: and to this at most
BASELINE = "mean_teacher"
# The functions of ssltut.methods.further that define each method's term.
TERMS = {
    "rpg": ("rpg:RPG.terms", "rpg:soft_cross_entropy"),
    "ss_net": ("adversarial:adversarial_direction", "ss_net:weighted_distance"),
    "versemi": ("versemi:VerSemi.unlabelled", "versemi:VerSemi.counted"),
    "self_paced": ("self_paced:pair_losses", "self_paced:self_paced_weights"),
    "mn": ("mn:MN.learners", "mn:distillation_loss"),
    "ersr": ("shapes:repair_mask", "shapes:Mirror.partners"),
    "m3hl": ("m3hl:block_masks", "m3hl:M3HL.low", "m3hl:M3HL.high"),
    "c3s3": ("c3s3:iuc_loss",),
    "transmedseg": ("transmedseg:transport_logits", "transmedseg:cluster_agreement"),
    "medl": ("evidence:opinion", "evidence:fuse", "medl:MEDL.omega"),
    "cad": ("cad:displace",),
}


class Code(str):
    """Python source in its colours where there is a front end, as text elsewhere."""

    __repr__ = str.__str__

    def _repr_markdown_(self) -> str:
        return f"```python\n{self}\n```"


class Drawn(NamedTuple):
    """The picture of a page before it is drawn.

    said   a sentence with its numbers;  alt  what it shows, without these
    shown  a figure, or {title: keywords of ``Scene``} cut in ``plane``
    """

    said: str
    alt: str
    shown: Figure | Mapping[str, Mapping[str, Any]]
    plane: str = "coronal"


def short(config: TrainConfig, seed: int = 0) -> TrainConfig:
    """Half of the steps, at most 2,000, on patches of three quarters of the sides, validated once.

    A method works then, but cannot be ranked.
    """
    steps, factor = max(2, min(config.steps // 2, 2000)), 2 ** (config.depth - 1)
    patch = tuple(max(min(side, factor), 3 * side // 4 // factor * factor) for side in config.patch)
    return replace(config, steps=steps, patch=patch, validate_every=steps, seed=seed)


@dataclass
class Gallery:
    """What all pages share: cohort, length of training, mean teacher, and four scans to look at.

    scans   two labelled ones and two unlabelled ones whose truth we know (of the validation split
            where we know none), cut to one size. Raises ConfigError where they are too small.
    """

    cohort: Cohort
    config: TrainConfig
    pictures: Mapping[str, Callable[["Page"], Drawn]]
    scans: tuple[Case, ...] = field(init=False)
    baseline: Run = field(init=False)

    def __post_init__(self) -> None:
        split, known = self.cohort.split, self.cohort.known_unlabelled()
        known = known if len(known) > 1 else (*known, *split.validation)
        ids = [*(2 * list(split.labelled))[:2], *(2 * list(known))[:2]]
        cases = [self.cohort.case(i) for i in ids]
        smallest = np.min([case.image.shape for case in cases], axis=0)
        size = [int(min(LARGEST, side)) // STEP * STEP for side in smallest]
        if min(size) < STEP:
            fix = "take a cohort of larger scans"
            raise ConfigError(f"a scan has a side of fewer than {STEP} voxels", fix=fix)
        self.scans = tuple(middle(case, size) for case in cases)
        self.baseline = self.train(make_method(BASELINE))

    def train(self, method: Method) -> Run:
        run = cached_run(method, self.cohort, self.config, log=lambda line: None)
        terms = ", ".join(name for name in run.history if name + " weight" in run.history)
        split = self.cohort.split
        scans = f"{len(split.labelled)} labelled and {len(split.unlabelled)} unlabelled scans"
        print(f"{method.title}: {self.config.steps} steps on {scans}. Terms: {terms}.")
        return run

    def scan(self) -> dict[str, Any]:
        """Keywords of ``show.planes`` for the scan of every page, with its truth."""
        page = Page(self, self.baseline)
        return page.scene(overlay=page.truth)

    def page(self, name: str, **options: object) -> "Page":
        """Train a method like mean teacher, or find that run; ConfigError where it has no page."""
        if name not in TERMS:
            fix = f"use one of {', '.join(TERMS)}"
            raise ConfigError(f"the gallery has no page of {name!r}", fix=fix)
        method = make_method(name, options)
        source = f"{method.paper}; {method.fidelity}: {FIDELITIES[method.fidelity]}"
        print(f"{method.title} ({method.year}), {source}.")
        return Page(self, self.train(method))


def middle(case: Case, size: list[int]) -> Case:
    """The box of ``size`` voxels in the middle of a scan."""
    corner = [(n - s) // 2 for n, s in zip(case.image.shape, size, strict=True)]
    box = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
    label = None if case.label is None else case.label[box]
    return replace(case, image=case.image[box], label=label)


def array(x: Tensor | ArrayLike, dtype: type = np.uint8) -> np.ndarray:
    """Numbers as a view takes them: label maps as uint8."""
    return np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x).astype(dtype)


@dataclass
class Page:
    """One method of the gallery with what it learned.

    ``batch`` are the whole scans of the gallery, the first unlabelled one is *the* scan. The
    networks are in eval mode, and schedules stand at ``progress``, three quarters of training.
    """

    gallery: Gallery
    run: Run

    @property
    def method(self) -> Any:
        return self.run.method

    @property
    def nets(self) -> Nets:
        return self.run.nets

    @property
    def progress(self) -> Progress:
        return Progress(3 * self.gallery.config.steps // 4, self.gallery.config.steps)

    @property
    def truth(self) -> np.ndarray:
        """The label (X, Y, Z) of the scan, known to us alone."""
        label = self.gallery.scans[2].label
        assert label is not None, "the scans of the gallery have labels"
        return array(label)

    @property
    def at(self) -> list[int]:
        """Where every page cuts the scan: the middle of its last class, else of the scan."""
        inside = np.argwhere(self.truth == self.run.table.n_classes - 1)
        return [int(v) for v in (inside.mean(0) if len(inside) else np.divide(self.truth.shape, 2))]

    @property
    def batch(self) -> Batch:
        scans, seen = self.gallery.scans, self.run.intensity.normalise
        x = torch.stack([torch.from_numpy(seen(case.image))[None] for case in scans])
        labels = [array(case.label, np.int64) for case in scans[:2] if case.label is not None]
        y = torch.from_numpy(np.stack(labels))
        ids = tuple(case.id for case in scans)
        places = tuple(PatchLocation(case.patient, "left", (0.5, 0.5, 0.5)) for case in scans)
        n_classes, seed = self.run.table.n_classes, self.gallery.config.seed
        parts = ids[:2], ids[2:], n_classes, seed, places[:2], places[2:]
        return Batch(x[:2], y, x[2:], *parts)

    def scene(self, x: Tensor | None = None, scan: int = 2, **layers: Any) -> dict[str, Any]:
        """Keywords of ``show.planes`` for a scan, or ``x`` (1, X, Y, Z) as the networks see it."""
        case, z = self.gallery.scans[scan], self.run.intensity
        image = case.image if x is None else x[0].float().numpy() * z.std + z.mean
        window = "bone" if self.gallery.cohort.modality == "CT" else None
        known = {"image": image, "spacing": case.spacing, "window": window, "at": self.at}
        return known | {"table": self.run.table} | layers

    def labels(self, overlay: Tensor | ArrayLike, x: Tensor | None = None, **more: Any) -> dict:
        """A scene with a label map of the cohort's classes."""
        return self.scene(x, overlay=array(overlay), **more)

    def areas(self, overlay: Tensor | ArrayLike, table: LabelTable, **more: Any) -> dict:
        """A scene with areas in the colours of ``table``, without other outlines."""
        return self.scene(overlay=array(overlay), table=table, **{"contours": {}} | more)

    def heat(self, values: Tensor | ArrayLike, label: str = "", **more: Any) -> dict:
        """A scene with a number for every voxel."""
        named = {"heat_label": label} if label else {}
        return self.scene(heat=array(values, np.float32), **named | more)

    def picture(self) -> Picture:
        """What the method does with the scan, from its own functions; prints its numbers too."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(self.gallery.config.seed)
            drawn = self.gallery.pictures[self.method.name](self)
        print(drawn.said)
        alt = f"{drawn.alt} {drawn.said}"
        if isinstance(drawn.shown, Figure):
            return picture(drawn.shown, alt)
        return grid(drawn.shown, alt=alt, plane=drawn.plane)

    def term(self) -> Code:
        """The functions of the package that define the method's term."""
        names = [f"ssltut.methods.further.{name}" for name in TERMS[self.method.name]]
        sources = [inspect.getsource(resolve_name(name)) for name in names]
        return Code("\n\n".join(inspect.cleandoc("\n" + source) for source in sources))

    def result(self) -> pd.DataFrame:
        """Its validation scores and those of mean teacher, a row each."""
        runs = [self.gallery.baseline, self.run]
        scores = {"validation Dice": "validation dice", "HD95 (mm)": "validation hd95"}
        rows = [{name: run.history[of].iloc[-1] for name, of in scores.items()} for run in runs]
        table = pd.DataFrame(rows, index=[run.method.title for run in runs])
        table.insert(0, "fidelity", [run.method.fidelity for run in runs])
        dice = table["validation Dice"]
        return table.assign(**{"Dice against mean teacher": dice - dice.iloc[0]}).round(3)
