"""One voxel of an unlabelled scan, and what a labelled scan says about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssltut.errors import ConfigError
from ssltut.methods.matching import primitives
from ssltut.show.static.slices import Scene, check_shapes


@dataclass(frozen=True)
class EmbeddedScan:
    """One scan of the correspondence explorer, which takes these as keywords.

    image, spacing  (X, Y, Z) HU or MR values, mm;  window  as in ``Scene``
    embedding       (D, X, Y, Z)
    label           (X, Y, Z) of a labelled scan; of the unlabelled one its truth, where known
    answer, heat    (X, Y, Z) what the teacher says, and for example its entropy
    Raises ConfigError when the arrays do not share one grid.
    """

    image: np.ndarray
    spacing: tuple[float, float, float]
    embedding: Tensor
    label: np.ndarray | None = None
    answer: np.ndarray | None = None
    heat: np.ndarray | None = None
    heat_label: str = "entropy (nats)"
    window: str | tuple[float, float] | None = "bone"

    def __post_init__(self) -> None:
        layers = {"embedding": self.embedding[0], "label": self.label, "answer": self.answer}
        check_shapes(self.image, layers)

    @property
    def known(self) -> np.ndarray | None:
        """The best that is known of its classes: the label, else the teacher's answer."""
        return self.label if self.label is not None else self.answer

    def scene(self, **layers: Any) -> Scene:
        """The scan with ``layers``, keywords of ``Scene``."""
        return Scene(self.image, self.spacing, window=self.window, **layers)


Scans = Mapping[str, EmbeddedScan]


class Question(NamedTuple):
    """What decides a match.

    kernel  of ``matching.KERNELS``;  k  neighbours
    band    around the label's surfaces, in voxels;  draw  which draw of references
    """

    kernel: str = "mean_cosine"
    k: int = 9
    band: int = 2
    draw: int = 0


PUBLISHED = Question()


class Match(NamedTuple):
    """What the labelled scan ``source`` says about voxel ``at`` of the scan ``target``.

    alike    (X, Y, Z) kernel of every labelled voxel with it
    place    (k, 3) voxels of the nearest references, best first
    classes  (k,) their class
    vote     (C,) share of the k that carry each class
    score    (C,) the kernel of each class of references, NaN for an absent one
    """

    target: EmbeddedScan
    source: EmbeddedScan
    at: tuple[int, ...]
    question: Question
    alike: np.ndarray
    place: np.ndarray
    classes: np.ndarray
    vote: np.ndarray
    score: np.ndarray

    @property
    def answers(self) -> dict[str, int]:
        """The class named by the vote, the kernel, the teacher and the truth, where known."""
        vote, kernel = int(self.vote.argmax()), int(np.nanargmax(self.score))
        classes = {f"vote of {self.question.k}": vote, self.question.kernel: kernel}
        for name, values in (("teacher", self.target.answer), ("truth", self.target.label)):
            if values is not None:
                classes[name] = int(values[self.at])
        return classes

    @property
    def agree(self) -> np.ndarray:
        """(k,) True where a neighbour has the known class of the voxel, or where none is known."""
        if self.target.known is None:
            return np.ones(len(self.classes), bool)
        return self.classes == self.target.known[self.at]


class MatchFinder:
    """Matches voxels of ``target`` to one of the ``labelled`` scans.

    references  of each class in each of 5 redraws, from the band around the label's surfaces
    Raises ConfigError without labelled scans, for one without label or with other channels.
    """

    def __init__(
        self, target: EmbeddedScan, labelled: Scans, n_classes: int, references: int = 120
    ) -> None:
        if not labelled:
            problem = "there is no labelled scan to look for matches in"
            raise ConfigError(problem, fix="give at least one")
        for name, scan in labelled.items():
            if scan.label is None:
                problem = "a scan to look for matches in has no label"
                raise ConfigError(problem, where=name, fix="give its label")
            if len(scan.embedding) != len(target.embedding):
                problem = f"its embedding has {len(scan.embedding)} channels"
                problem += f", that of the unlabelled scan {len(target.embedding)}"
                raise ConfigError(problem, where=name, fix="take both from the same network")
        self.target, self.labelled = target, labelled
        self.n_classes, self.n_references = n_classes, references
        self.vectors: dict[str, Tensor] = {}
        self.drawn: dict[tuple[str, int, int], tuple[Tensor, Tensor]] = {}

    def references(self, scan: str, band: int, draw: int) -> tuple[Tensor, Tensor]:
        """References (C', 5, k) as positions in the flattened scan, and their classes (C',)."""
        key = (scan, band, draw)
        if key not in self.drawn:
            label = torch.as_tensor(np.asarray(self.labelled[scan].label, np.int64))[None]
            region = label, primitives.surface_shell(label, band), self.n_classes
            random, k = torch.Generator().manual_seed(draw), self.n_references
            index, present = primitives.draw_references(*region, k=k, redraws=5, generator=random)
            if not present.any():
                fix = "take a scan with more than one class"
                problem = "its label has no surface to draw references from"
                raise ConfigError(problem, where=scan, fix=fix)
            self.drawn[key] = index[present], torch.nonzero(present)[:, 0]
        return self.drawn[key]

    def __call__(self, at: Sequence[int], scan: str, question: Question) -> Match:
        """Raises ConfigError when k is not between 1 and the number of references."""
        source = self.labelled[scan]
        if scan not in self.vectors:
            self.vectors[scan] = primitives.voxel_vectors(source.embedding[None])
        vectors = self.vectors[scan]
        index, present = self.references(scan, question.band, question.draw)
        # a small band is drawn from with replacement, but a voxel is a neighbour once
        bank = index.unique()
        if not 1 <= question.k <= len(bank):
            fix = "use at least 1 and at most all of them"
            raise ConfigError(f"{question.k} neighbours asked of {len(bank)} references", fix=fix)
        x, y, z = at
        query = self.target.embedding[:, x, y, z].float()[None]
        score = torch.full((self.n_classes,), torch.nan)
        score[present] = primitives.similarity(vectors[index], query, question.kernel)[:, 0]
        # each voxel as a class of one reference: the kernel itself
        alike = primitives.similarity(vectors[:, None, None], query, question.kernel)[:, 0]
        nearest = bank[alike[bank].topk(question.k).indices].numpy()
        place = np.stack(np.unravel_index(nearest, source.image.shape), -1)
        classes = np.asarray(source.label)[tuple(place.T)].astype(np.int64)
        vote = np.bincount(classes, minlength=self.n_classes) / question.k
        resemblance = alike.view(source.image.shape).numpy()
        where = (self.target, source, tuple(at), question)
        return Match(*where, resemblance, place, classes, vote, score.numpy())


def line_names(target: EmbeddedScan) -> tuple[str, str]:
    """What agreeing and other lines are called."""
    if target.known is None:
        return "match", "other match"
    if target.label is not None:
        return "match of the right class", "match of a wrong class"
    return "match of the teacher's class", "match of another class"
