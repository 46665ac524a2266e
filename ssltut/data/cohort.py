"""Cohort: cases plus a patient-disjoint split; where they come from (memory, NIfTI folder, phantom,
left atrium) makes no difference.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from ssltut.data.case import LABELLED, Case
from ssltut.data.labels import BONE, HIP, LabelTable, to_bone
from ssltut.data.split import Split
from ssltut.errors import ConfigError, DataError
from ssltut.seeding import derive_seed


class Source(NamedTuple):
    """How to get one case: its patient, whether a label is known, a fingerprint of the content, and
    the loader.
    """

    patient: str
    has_label: bool
    fingerprint: str
    load: Callable[[], Case]


@dataclass(frozen=True)
class Cohort:
    """Cases by id with their split. Cases are loaded when first asked for and then kept.

    ``training("unlabelled")`` gives cases without labels: no method can see what it must not.
    ``hash`` follows the content and the split. ``spacing`` is the voxel size in mm they were all
    resampled to, None for the size of the files. A cohort sent to another process takes its loaders
    along and leaves the loaded cases behind: loaders are module functions with their arguments, not
    closures.
    """

    name: str
    table: LabelTable
    modality: str
    split: Split
    sources: Mapping[str, Source]
    spacing: float | None = None
    _loaded: dict[str, Case] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.split.check(
            {case_id: source.patient for case_id, source in self.sources.items()}, where=self.name
        )

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_loaded": {}}

    @classmethod
    def from_cases(
        cls, cases: Sequence[Case], split: Split, table: LabelTable, name: str, modality: str = "CT"
    ) -> "Cohort":
        """A cohort of cases in memory."""
        sources = {
            case.id: Source(
                case.patient, case.label is not None, fingerprint(case), partial(_held, case)
            )
            for case in cases
        }
        return cls(name, table, modality, split, sources)

    @property
    def hash(self) -> str:
        content = [
            self.table.to_dict(),
            self.split.hash,
            [(i, self.sources[i].fingerprint) for i in self.split.all],
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def case(self, case_id: str) -> Case:
        """One case, with its label where it is known. Raises DataError for an unknown id."""
        if case_id not in self.sources:
            raise DataError(
                f"there is no case {case_id!r}",
                where=self.name,
                fix=f"use one of {', '.join(list(self.sources)[:5])} ...",
            )
        if case_id not in self._loaded:
            self._loaded[case_id] = self.sources[case_id].load()
        return self._loaded[case_id]

    def _labelled_cases(self, part: str) -> list[Case]:
        missing = [
            case_id for case_id in getattr(self.split, part) if not self.sources[case_id].has_label
        ]
        if missing:
            raise DataError(
                f"{len(missing)} cases of the part {part} have no label, the first is {missing[0]}",
                where=self.name,
                fix="add their labels or move them to the unlabelled part of split.json",
            )
        return [self.case(case_id) for case_id in getattr(self.split, part)]

    def training(self, part: str) -> list[Case]:
        """The "labelled" cases, or the "unlabelled" ones without labels. Raises DataError when a
        labelled one has none.
        """
        if part == "unlabelled":
            return [self.case(case_id).without_label() for case_id in self.split.unlabelled]
        return self._labelled_cases("labelled")

    def validation(self) -> list[Case]:
        return self._labelled_cases("validation")

    def test(self) -> list[Case]:
        """The held-out cases; only ``compare`` and a final look open them."""
        return self._labelled_cases("test")

    def known_unlabelled(self) -> tuple[str, ...]:
        """The unlabelled scans whose label is there all the same: never for training, only to see
        how right a method is.
        """
        return tuple(
            case_id for case_id in self.split.unlabelled if self.sources[case_id].has_label
        )

    def with_budget(self, n: int | str, seed: int | None = None) -> "Cohort":
        """The same cohort with ``n`` labelled training scans (or "all"); the rest of the training
        scans become unlabelled.

        Without ``seed`` the first n in the order of the split (the published protocols); with it, a
        random draw of scans; two scans of one patient may fall on both sides.
        Raises ConfigError when there are not enough labelled scans.
        """
        pool = [*self.split.labelled, *self.split.unlabelled]
        known = [case_id for case_id in pool if self.sources[case_id].has_label]
        n = len(known) if n == "all" else int(n)
        if not 1 <= n <= len(known):
            raise ConfigError(
                f"a budget of {n} labelled scans, but {len(known)} training scans have labels",
                where=self.name,
                fix=f"choose 1 to {len(known)}",
            )
        if seed is not None:
            order = np.random.default_rng(derive_seed(seed, "budget")).permutation(len(known))
            known = [known[i] for i in order]
        chosen = set(known[:n])
        return replace(
            self,
            split=replace(
                self.split,
                labelled=tuple(known[:n]),
                unlabelled=tuple(i for i in pool if i not in chosen),
            ),
        )

    def partially_labelled(self, *kept: Sequence[str]) -> "Cohort":
        """The labelled training scans in turn keep the labels of the classes ``kept`` names for
        them; the others become background.

        ``meta["labelled classes"]`` of a scan lists what is left, for methods that heed it.
        Validation and test keep all labels. Raises ConfigError for a class the table does not have,
        and for a source without any.
        """
        lost = {name for names in kept for name in names} - set(self.table.names[1:])
        if lost or not kept or not all(kept):
            raise ConfigError(
                f"there is no class {', '.join(sorted(lost)) or 'given'}",
                where=self.name,
                fix=f"name some of {', '.join(self.table.names[1:])} for every source",
            )
        sources = dict(self.sources)
        for i, case_id in enumerate(self.split.labelled):
            classes, source = (
                tuple(self.table.names.index(name) for name in kept[i % len(kept)]),
                sources[case_id],
            )
            load = partial(_changed, source.load, partial(_only, classes=classes))
            sources[case_id] = source._replace(
                fingerprint=f"{source.fingerprint}, classes {classes}", load=load
            )
        return replace(self, sources=sources, _loaded={})

    def _mapped(self, change: Callable[[Case], Case], note: str, **fields: object) -> "Cohort":
        sources = {
            case_id: source._replace(
                fingerprint=f"{source.fingerprint}, {note}",
                load=partial(_changed, source.load, change),
            )
            for case_id, source in self.sources.items()
        }
        return replace(self, sources=sources, _loaded={}, **fields)

    def as_bone(self) -> "Cohort":
        """The binary task of the paper, bone against rest. Raises ConfigError for a cohort that is
        not of hips.
        """
        if self.table != HIP:
            raise ConfigError(
                f"the classes {self.table.names} are no hip",
                where=self.name,
                fix="leave out the bone view",
            )
        return self._mapped(_bone, "bone", table=BONE)

    def resampled(self, spacing: float) -> "Cohort":
        """Every scan on voxels of ``spacing`` mm a side."""
        from ssltut.data.resample import resample

        if not spacing > 0:
            raise ConfigError(f"a voxel size of {spacing} mm", fix="give a number above 0")
        return self._mapped(
            partial(resample, spacing=(spacing,) * 3, n_classes=self.table.n_classes),
            f"{spacing:g} mm",
            spacing=spacing,
        )

    def projected(self) -> "Cohort":
        """Every scan as its projection from the front (ssltut.data.projection), for 2D networks.
        Raises ConfigError if they are no CT.
        """
        from ssltut.data.projection import project

        if self.modality != "CT":
            raise ConfigError(
                f"projections are made of CT, the scans are {self.modality}",
                where=self.name,
                fix="use a cohort of CT",
            )
        return self._mapped(project, "projected", modality="X-ray", spacing=None)


def _held(case: Case) -> Case:
    return case


def _changed(load: Callable[[], Case], change: Callable[[Case], Case]) -> Case:
    return change(load())


def _bone(case: Case) -> Case:
    if LABELLED in case.meta:
        raise ConfigError(
            "a scan that lacks labels of some bones has no bone view",
            where=case.id,
            fix="take that of whole labels",
        )
    return replace(case, label=None if case.label is None else to_bone(case.label))


def _only(case: Case, classes: tuple[int, ...]) -> Case:
    return replace(
        case, label=case.label * np.isin(case.label, classes), meta={**case.meta, LABELLED: classes}
    )


def fingerprint(case: Case) -> str:
    """A hash of the voxels, label and geometry of a case."""
    digest = hashlib.sha256(case.image.tobytes() + case.affine.tobytes())
    digest.update(b"" if case.label is None else case.label.tobytes())
    return digest.hexdigest()[:16]
