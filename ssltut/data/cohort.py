"""Cohort: cases plus a patient-disjoint split, wherever they come from."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from ssltut.data.case import LABELLED, VOXEL_SIZES, Case
from ssltut.data.labels import BONE, FOREGROUND, HIP, LabelTable
from ssltut.data.projection import project
from ssltut.data.resample import resample
from ssltut.data.split import Split
from ssltut.errors import ConfigError, DataError
from ssltut.seeding import rng_for


class Source(NamedTuple):
    """How to get one case; ``fingerprint`` is of its content, or of what that is made from."""

    patient: str
    has_label: bool
    fingerprint: str
    load: Callable[[], Case]  # no closure, as it goes to other processes

    def changed(self, change: Callable[[Case], Case], note: str) -> "Source":
        """The case after ``change``, which ``note`` names in the fingerprint."""
        load = partial(_changed, self.load, change)
        return self._replace(fingerprint=f"{self.fingerprint}, {note}", load=load)


@dataclass(frozen=True)
class Cohort:
    """Cases by id with their split. Cases are loaded when first asked for and then kept.

    ``hash`` follows the content and the split. ``spacing`` is the voxel size in mm they were all
    resampled to, None for the size of the files. A cohort sent to another process takes its loaders
    along and leaves the loaded cases behind.
    """

    name: str
    table: LabelTable
    modality: str
    split: Split
    sources: Mapping[str, Source]
    spacing: float | None = None
    _loaded: dict[str, Case] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        patients = {case_id: source.patient for case_id, source in self.sources.items()}
        self.split.check(patients, where=self.name)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loaded": {}}

    @classmethod
    def from_cases(
        cls, cases: Sequence[Case], split: Split, table: LabelTable, name: str, modality: str = "CT"
    ) -> "Cohort":
        """A cohort of cases in memory."""
        sources = {}
        for case in cases:
            load, has_label = partial(replace, case), case.label is not None
            sources[case.id] = Source(case.patient, has_label, fingerprint(case), load)
        return cls(name, table, modality, split, sources)

    @property
    def hash(self) -> str:
        fingerprints = [(i, self.sources[i].fingerprint) for i in self.split.all]
        content = [self.table.to_dict(), self.split.hash, fingerprints]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def case(self, case_id: str) -> Case:
        """One case, with its label where it is known. Raises DataError for an unknown id."""
        if case_id not in self.sources:
            fix = f"use one of {', '.join(list(self.sources)[:5])} ..."
            raise DataError(f"there is no case {case_id!r}", where=self.name, fix=fix)
        if case_id not in self._loaded:
            self._loaded[case_id] = self.sources[case_id].load()
        return self._loaded[case_id]

    def _labelled_cases(self, part: str) -> list[Case]:
        case_ids = getattr(self.split, part)
        if missing := [case_id for case_id in case_ids if not self.sources[case_id].has_label]:
            problem = f"{len(missing)} cases of the part {part} have no label"
            fix = "add their labels or move them to the unlabelled part of split.json"
            raise DataError(f"{problem}, the first is {missing[0]}", where=self.name, fix=fix)
        return [self.case(case_id) for case_id in case_ids]

    def training(self, part: Literal["labelled", "unlabelled"]) -> list[Case]:
        """The labelled cases (DataError when one has no label), or the others without labels."""
        if part == "unlabelled":
            return [self.case(case_id).without_label() for case_id in self.split.unlabelled]
        return self._labelled_cases("labelled")

    def validation(self) -> list[Case]:
        return self._labelled_cases("validation")

    def test(self) -> list[Case]:
        """The held-out cases; only ``compare`` and a final look open them."""
        return self._labelled_cases("test")

    def known_unlabelled(self) -> tuple[str, ...]:
        """The unlabelled scans whose label is there, to see how right a method is, not to train."""
        return tuple(i for i in self.split.unlabelled if self.sources[i].has_label)

    def with_budget(self, n: int | Literal["all"], seed: int | None = None) -> "Cohort":
        """The same cohort with ``n`` labelled training scans; the others become unlabelled.

        Without ``seed`` the first n in the order of the split (the published protocols), else drawn
        scans, not patients. Raises ConfigError when there are not enough labelled scans.
        """
        pool = [*self.split.labelled, *self.split.unlabelled]
        known = [case_id for case_id in pool if self.sources[case_id].has_label]
        n = len(known) if n == "all" else int(n)
        if not 1 <= n <= len(known):
            problem = f"a budget of {n} labelled scans, but {len(known)} training scans have labels"
            raise ConfigError(problem, where=self.name, fix=f"choose 1 to {len(known)}")
        if seed is not None:
            known = [known[i] for i in rng_for(seed, "budget").permutation(len(known))]
        labelled = tuple(known[:n])
        rest = tuple(case_id for case_id in pool if case_id not in labelled)
        return replace(self, split=replace(self.split, labelled=labelled, unlabelled=rest))

    def with_validation(self, n: int) -> "Cohort":
        """The same cohort with ``n`` validation scans, as varied as the test scans.

        They come from the unlabelled scans whose label is known and from the old validation scans:
        of every condition (illness or metal in ``meta["pathology"]``, none in real scans) as many
        as its share of the test asks for. A choice of weights by two scans is a lottery; six are
        the least that we would trust. Raises ConfigError where there are not enough.
        """
        test = [condition(self.case(case_id)) for case_id in self.split.test]
        pool = [*self.known_unlabelled(), *self.split.validation]
        of = {case_id: condition(self.case(case_id)) for case_id in pool}
        chosen: list[str] = []
        while len(chosen) < n:
            have = Counter(of[case_id] for case_id in chosen)
            lacks = {c: (have[c] + 0.5) / test.count(c) for c in test}
            free = [i for i in pool if i not in chosen and of[i] in lacks]
            if not free:
                problem = f"{n} scans wanted, but only {len(chosen)} with labels resemble the test"
                fix = f"choose 1 to {len(chosen)}, or label more"
                raise ConfigError(problem, where=self.name, fix=fix)
            chosen.append(min(free, key=lambda case_id: lacks[of[case_id]]))
        training = [*self.split.unlabelled, *self.split.validation]
        rest = tuple(case_id for case_id in training if case_id not in chosen)
        return replace(self, split=replace(self.split, unlabelled=rest, validation=tuple(chosen)))

    def changed(self, change: Callable[[Case], Case], note: str, **fields: Any) -> "Cohort":
        """Every scan after ``change``, as ``Source.changed``; ``fields`` of the cohort with it."""
        sources = {i: source.changed(change, note) for i, source in self.sources.items()}
        return replace(self, sources=sources, _loaded={}, **fields)

    def as_bone(self) -> "Cohort":
        """All foreground classes as one: of hips the binary task of the paper, bone against rest.

        That class is called bone where all are bones of ``HIP``, else foreground: a pelvis with
        organs, or other bones. A cohort of two classes stays as it is. A scan that lacks the labels
        of some classes is refused with a ConfigError when it is loaded.
        """
        if self.table.n_classes == 2:
            return self
        is_bone = set(self.table.names) <= set(HIP.names)
        return self.changed(_one_class, "bone", table=BONE if is_bone else FOREGROUND)

    def resampled(self, spacing: float) -> "Cohort":
        """Every scan on voxels of ``spacing`` mm a side. ConfigError for a size that cannot be."""
        if not VOXEL_SIZES.holds(spacing):
            fix = f"give a number {VOXEL_SIZES} mm"
            raise ConfigError(f"a voxel size of {spacing} mm", fix=fix)
        change = partial(resample, spacing=(spacing,) * 3, n_classes=self.table.n_classes)
        return self.changed(change, f"{spacing:g} mm", spacing=spacing)

    def projected(self) -> "Cohort":
        """Every scan as its projection from the front, for 2D networks. ConfigError if no CT."""
        if self.modality != "CT":
            problem = f"projections are made of CT, the scans are {self.modality}"
            raise ConfigError(problem, where=self.name, fix="use a cohort of CT")
        return self.changed(project, "projected", modality="X-ray", spacing=None)


def condition(case: Case) -> str:
    """What is wrong in a scan, as far as its ``meta`` says: illnesses, metal, or "none"."""
    found = [name for name, severity in case.meta.get("pathology", {}).items() if severity]
    return ", ".join(found) or "none"


def _changed(load: Callable[[], Case], change: Callable[[Case], Case]) -> Case:
    return change(load())


def _one_class(case: Case) -> Case:
    if LABELLED in case.meta:
        problem = "not every bone is labelled, so the bones cannot be made one class"
        raise ConfigError(problem, where=case.id, fix="use scans in which every bone is labelled")
    return case if case.label is None else replace(case, label=(case.label > 0).astype(np.uint8))


def fingerprint(case: Case) -> str:
    """A hash of the voxels, label and geometry of a case."""
    digest = hashlib.sha256(case.image.tobytes() + case.affine.tobytes())
    digest.update(b"" if case.label is None else case.label.tobytes())
    return digest.hexdigest()[:16]
