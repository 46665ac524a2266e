"""One page a method: what it was taught with, its picture on the one scan, its term in code, and
its result beside mean teacher.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ssltut.data.batch import Batch, PatchLocation
from ssltut.data.case import Case
from ssltut.data.cohort import Cohort
from ssltut.data.patches import Intensity
from ssltut.errors import ConfigError
from ssltut.methods.contract import IDEAS, Method, Progress
from ssltut.methods.further import (
    adversarial,
    evidence,
    m3hl,
    medl,
    mn,
    rpg,
    self_paced,
    shapes,
    ss_net,
    transmedseg,
)
from ssltut.methods.further import c3s3 as c3s3_module
from ssltut.methods.further import cad as cad_module
from ssltut.methods.registry import METHODS, make_method
from ssltut.show.static.pictures import Picture
from ssltut.training.config import TrainConfig
from ssltut.training.loop import cached_run
from ssltut.training.run import Run

STEP, LARGEST = (
    8,
    96,
)  # voxels: sides of a scan are cut to multiples of STEP, and to LARGEST at most
BASELINE = "mean_teacher"

# Per method the lines that define its term: what holds them, and where an excerpt of it begins and
# ends ("": the whole of it).
TERMS: dict[str, tuple[tuple[Callable, str, str], ...]] = {
    "rpg": (
        (rpg.RPG.targets, "labels = thin_label", "q = F.interpolate"),
        (rpg.RPG.terms, "kept = q.amax", 'terms["reference"]'),
        (rpg.soft_cross_entropy, "", ""),
    ),
    "ss_net": (
        (adversarial.adversarial_direction, "d = unit", "return unit"),
        (ss_net.weighted_distance, "", ""),
    ),
    "versemi": (
        (METHODS["versemi"].unlabelled, "", ""),
        (METHODS["versemi"].counted, "", ""),
    ),
    "self_paced": ((self_paced.pair_losses, "", ""), (self_paced.self_paced_weights, "", "")),
    "mn": ((mn.MN.learners, "", ""), (mn.distillation_loss, "", "")),
    "ersr": (
        (shapes.repair_mask, "", ""),
        (METHODS["ersr"].terms, "images = halves", 'terms["mirror halves"]'),
    ),
    "m3hl": (
        (m3hl.block_masks, "total =", "mask ="),
        (m3hl.M3HL.low, "", ""),
        (m3hl.M3HL.high, "", ""),
    ),
    "c3s3": (
        (c3s3_module.C3S3.compete, "share =", "winner, loser"),
        (c3s3_module.iuc_loss, "s = s", "return"),
    ),
    "transmedseg": (
        (transmedseg.transport_logits, "", ""),
        (transmedseg.TransMedSeg.terms, "shift =", 'terms["transfer"]'),
    ),
    "medl": ((evidence.opinion, "", ""), (evidence.fuse, "", ""), (medl.MEDL.omega, "", "")),
    "cad": ((cad_module.low_confidence, "", ""), (cad_module.displace, "goal =", "where[(b")),
}


def excerpt(source: Callable, first: str = "", last: str = "") -> str:
    """The source of a function, or its lines from the one that begins with ``first`` to the
    statement that begins with ``last``.

    Raises ConfigError where no line does.
    """
    lines = inspect.getsource(source).splitlines()

    def marked(mark: str) -> list[int]:
        found = [i for i, line in enumerate(lines) if line.strip().startswith(mark)]
        if not found:
            raise ConfigError(
                f"no line of {source.__qualname__} begins with {mark!r}", fix="look at its source"
            )
        return found

    if first:
        end, depth = marked(last)[-1], 0
        for n in range(end, len(lines)):  # a statement goes on until its brackets are closed
            depth += sum(lines[n].count(c) for c in "([{") - sum(lines[n].count(c) for c in ")]}")
            if depth <= 0:
                end = n
                break
        lines = lines[marked(first)[0] : end + 1]
    return inspect.cleandoc("\n" + "\n".join(lines))


@dataclass(frozen=True)
class Code:
    """Python source that displays itself with its colours where there is a front end, as text
    elsewhere.
    """

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.text}\n```"


def short(config: TrainConfig, seed: int = 0) -> TrainConfig:
    """Half of the steps, at most 2,000, on patches of three quarters of the sides, validated once:
    a method works, but cannot be ranked.
    """
    steps, factor = max(2, min(config.steps // 2, 2000)), 2 ** (config.depth - 1)
    patch = tuple(max(min(side, factor), 3 * side // 4 // factor * factor) for side in config.patch)
    return replace(config, steps=steps, patch=patch, validate_every=steps, seed=seed)


@dataclass
class Gallery:
    """What all pages share: the cohort, how long everything trains, mean teacher, and the four
    scans that are looked at.

    scans  two labelled ones and two unlabelled ones whose truth we know (of the validation split
           where we know none), cut to one size
    """

    cohort: Cohort
    config: TrainConfig
    scans: tuple[Case, ...] = field(init=False)
    baseline: Run = field(init=False)

    def __post_init__(self) -> None:
        split, known = self.cohort.split, self.cohort.known_unlabelled()
        known = known if len(known) > 1 else [*known, *split.validation]
        ids = [*(2 * list(split.labelled))[:2], *(2 * known)[:2]]
        found = [self.cohort.case(i) for i in ids]
        size = [
            min(LARGEST, min(sides)) // STEP * STEP
            for sides in zip(*(case.image.shape for case in found), strict=True)
        ]
        if min(size) < STEP:
            raise ConfigError(
                f"a scan has a side of fewer than {STEP} voxels",
                fix="take a cohort of larger scans",
            )
        self.scans = tuple(middle(case, size) for case in found)
        self.baseline = self.train(make_method(BASELINE))

    def train(self, method: Method) -> Run:
        run = cached_run(method, self.cohort, self.config, log=lambda line: None)
        terms = ", ".join(name for name in run.history if name + " weight" in run.history)
        print(
            f"{method.title}: {self.config.steps} steps on {len(self.cohort.split.labelled)}"
            f" labelled and {len(self.cohort.split.unlabelled)} unlabelled scans. Terms: {terms}."
        )
        return run

    def scan(self) -> dict[str, object]:
        """Keywords of ``show.planes`` for the scan of every page, with its truth."""
        page = Page(self, self.baseline)
        return page.scene(overlay=page.truth)

    def page(self, name: str, **options: object) -> "Page":
        """Train the method called ``name`` like mean teacher, or find that run. Raises ConfigError
        for a method without a page.
        """
        if name not in TERMS:
            raise ConfigError(
                f"the gallery has no page of {name!r}", fix=f"use one of {', '.join(TERMS)}"
            )
        method = make_method(name, options)
        print(
            f"{method.title} ({method.year}),"
            f" {'after its published equations' if method.exact else 'our reconstruction'}."
            f" {method.paper}"
        )
        return Page(self, self.train(method))


def middle(case: Case, size: list[int]) -> Case:
    """The box of ``size`` voxels in the middle of a scan."""
    box = tuple(
        slice((n - s) // 2, (n - s) // 2 + s) for n, s in zip(case.image.shape, size, strict=True)
    )
    label = None if case.label is None else case.label[box]
    return replace(case, image=case.image[box], label=label)


@dataclass
class Page:
    """One method of the gallery with what it learned; ``batch`` are the whole scans of the gallery,
    the first unlabelled one is *the* scan.

    The networks are in eval mode, and schedules stand at ``progress``, three quarters of training.
    """

    gallery: Gallery
    run: Run

    @property
    def method(self) -> Method:
        return self.run.method

    @property
    def progress(self) -> Progress:
        return Progress(3 * self.gallery.config.steps // 4, self.gallery.config.steps)

    @property
    def intensity(self) -> Intensity:
        return self.run.intensity

    @property
    def truth(self) -> np.ndarray:
        """The label (X, Y, Z) of the scan, known to us alone."""
        return self.gallery.scans[2].label

    @property
    def at(self) -> list[int]:
        """Where every page cuts the scan: the middle of its last class, else of the scan."""
        inside = np.argwhere(self.truth == self.run.table.n_classes - 1)
        return [int(v) for v in (inside.mean(0) if len(inside) else np.divide(self.truth.shape, 2))]

    @property
    def batch(self) -> Batch:
        scans = self.gallery.scans
        x = torch.stack(
            [torch.from_numpy(self.intensity.normalise(case.image))[None] for case in scans]
        )
        y = torch.from_numpy(np.stack([case.label for case in scans[:2]]).astype(np.int64))
        ids, places = (
            [case.id for case in scans],
            [PatchLocation(case.patient, "left", (0.5, 0.5, 0.5)) for case in scans],
        )
        return Batch(
            x[:2],
            y,
            x[2:],
            tuple(ids[:2]),
            tuple(ids[2:]),
            self.run.table.n_classes,
            self.gallery.config.seed,
            tuple(places[:2]),
            tuple(places[2:]),
        )

    def scene(self, x: Tensor | None = None, scan: int = 2, **layers: object) -> dict[str, object]:
        """Keywords of ``show.planes`` for a scan of the gallery, or for ``x`` (1, X, Y, Z) as the
        networks see it, with ``layers``.
        """
        case, z = self.gallery.scans[scan], self.intensity
        image = case.image if x is None else x[0].float().numpy() * z.std + z.mean
        window = "bone" if self.gallery.cohort.modality == "CT" else None
        return {
            "image": image,
            "spacing": case.spacing,
            "window": window,
            "table": self.run.table,
            "at": self.at,
        } | layers

    def picture(self) -> Picture:
        """What the method perturbs, matches, mixes or weighs on the scan, from the functions its
        loss calls; says its numbers too.
        """
        from ssltut.gallery.pictures import PORTRAITS

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.gallery.config.seed)
            said, drawn = PORTRAITS[self.method.name](self)
        print(said)
        return drawn

    def term(self) -> Code:
        """The lines of the package that define the method's term."""
        return Code("\n\n".join(excerpt(*part) for part in TERMS[self.method.name]))

    def result(self) -> pd.DataFrame:
        """Its validation scores and those of mean teacher, a row each."""
        rows = {
            run.method.title: {
                name: run.history[f"validation {column}"].iloc[-1]
                for name, column in (("validation Dice", "dice"), ("HD95 (mm)", "hd95"))
            }
            for run in (self.gallery.baseline, self.run)
        }
        table = pd.DataFrame(rows).T
        table["Dice against mean teacher"] = (
            table["validation Dice"] - table["validation Dice"].iloc[0]
        )
        return table.round(3)


def ideas() -> pd.DataFrame:
    """Which of ``IDEAS`` each method uses: a row for each method by its title, True or False."""
    used = {m.title: {idea: idea in m.ideas for idea in IDEAS} for m in METHODS.values()}
    return pd.DataFrame(used).T.astype(bool)
