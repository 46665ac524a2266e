"""Cohort: cases plus a patient-disjoint split; where they come from (memory, NIfTI folder, phantom,
left atrium) makes no difference.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssltut.data.case import LABELLED, Case
from ssltut.data.labels import BONE, HIP, LabelTable, table_named, to_bone
from ssltut.data.split import PARTS, Split, make_split
from ssltut.data.views import derive_seed
from ssltut.errors import ConfigError, DataError


def cache_dir() -> Path:
    """Where synthetic scans and the notebooks' runs are kept: SSLTUT_CACHE, else the user's cache
    folder.
    """
    import pooch

    return Path(os.environ.get("SSLTUT_CACHE") or pooch.os_cache("ssltut"))


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


def synthetic_cohort(
    n: int = 28,
    *,
    seed: int = 0,
    size: int = 64,
    labelled: int = 4,
    validation: int = 2,
    test: int = 10,
    pathology_rate: float = 0.5,
) -> Cohort:
    """``n`` synthetic hip CTs of size^3 voxels over 160 mm, each made once and kept in the cache.
    Bit-reproducible from ``seed``.

    Raises ConfigError when the parts do not leave a labelled scan.
    """
    from ssltut.data.phantom import VERSION

    if n < labelled + validation + test or labelled < 1:
        raise ConfigError(
            f"{n} scans cannot give {labelled} labelled, {validation} validation and {test} test"
            " scans",
            fix="raise n",
        )
    folder = cache_dir() / "phantom" / f"v{VERSION}-{size}-{seed}-{pathology_rate:g}"
    ids = [f"hip{i:03d}" for i in range(n)]
    sources = {
        case_id: Source(
            case_id,
            True,
            f"phantom v{VERSION} {size} {pathology_rate} {derive_seed(seed, i)}",
            partial(_made, folder / f"{case_id}.npz", derive_seed(seed, i), size, pathology_rate),
        )
        for i, case_id in enumerate(ids)
    }
    held = n - validation - test
    split = Split(
        tuple(ids[:labelled]),
        tuple(ids[labelled:held]),
        tuple(ids[held : held + validation]),
        tuple(ids[held + validation :]),
    )
    return Cohort(
        f"synthetic hips v{VERSION} (seed {seed}, {size} voxels)", HIP, "CT", split, sources
    )


def _made(file: Path, seed: int, size: int, pathology_rate: float) -> Case:
    from ssltut.data.phantom import make_case

    if not file.exists():
        store(make_case(seed, size=size, pathology_rate=pathology_rate, id=file.stem), file)
    return recall(file)


def store(case: Case, file: Path) -> None:
    """Keep a labelled case in the cache; whoever reads it meanwhile sees nothing or all of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(
        part, image=case.image, label=case.label, affine=case.affine, meta=json.dumps(case.meta)
    )
    os.replace(part, file)


def recall(file: Path) -> Case:
    """What ``store`` kept."""
    with np.load(file, allow_pickle=False) as found:
        return Case(
            file.stem,
            file.stem,
            found["image"],
            found["label"],
            found["affine"],
            json.loads(str(found["meta"])),
        )


def read_cohort(folder: Path, test_list: Path | None = None) -> Cohort:
    """The cohort in ``folder``: images/ and labels/ with files of the same names and, better, a
    split.json; or the left-atrium scans.

    ``test_list`` is the folder of the left atrium's own test scans. Without the four lists in
    split.json the scans with labels are split here (20 % test, 10 % validation, fixed draw); those
    without are unlabelled. Raises DataError when there is no cohort, or when split.json names scans
    that are not there; ConfigError for a test list beside other scans.
    """
    from ssltut.data.atrium import is_atrium, read_atrium

    folder = Path(folder)
    if is_atrium(folder):
        return read_atrium(folder, test_list)
    if test_list is not None:
        raise ConfigError(
            "a test list belongs to the left-atrium scans",
            where=folder,
            fix="name the test scans in split.json",
        )
    images, labels = by_id(folder / "images"), by_id(folder / "labels")
    if not images:
        raise DataError(
            "there are no scans images/*.nii or images/*.nii.gz here",
            where=folder,
            fix="give the folder that holds images/ and labels/",
        )
    if lost := sorted(set(labels) - set(images)):
        raise DataError(
            f"{len(lost)} labels have no image, the first is {labels[lost[0]].name}",
            where=folder,
            fix="give both the same name",
        )
    about = read_json(folder / "split.json") if (folder / "split.json").exists() else {}
    table, meta = (
        table_named(about.get("table", HIP.name)),
        read_json(folder / "cases.json") if (folder / "cases.json").exists() else {},
    )
    named = about.get("patients", {})
    if not isinstance(named, dict):
        raise DataError(
            "patients is no table",
            where=folder / "split.json",
            fix='write it as {"scan": "patient", ...}',
        )
    patients = {case_id: str(named.get(case_id, case_id)) for case_id in images}
    split = (
        Split.from_dict(about, folder / "split.json")
        if set(PARTS) & set(about)
        else make_split(
            {i: patients[i] for i in images if i in labels},
            {i: patients[i] for i in images if i not in labels},
        )
    )
    modality = str(about.get("modality", "CT"))
    load = {
        i: partial(
            _read,
            path.absolute(),
            labels[i].absolute() if i in labels else None,
            meta.get(i, {}),
            table=table,
            modality=modality,
            id=i,
            patient=patients[i],
        )
        for i, path in images.items()
    }
    sources = {
        i: Source(patients[i], i in labels, digest_of(path, labels.get(i)), load[i])
        for i, path in images.items()
    }
    return Cohort(str(about.get("name", folder.name)), table, modality, split, sources)


def _read(image: Path, label: Path | None, meta: Mapping[str, object], **known: object) -> Case:
    from ssltut.data.nifti import read_case

    return replace(read_case(image, label, **known), meta=meta)


def by_id(folder: Path) -> dict[str, Path]:
    """The NIfTI files of ``folder`` by scan id, their name without ending. Raises DataError when
    two have the same.
    """
    found: dict[str, Path] = {}
    for path in sorted([*folder.glob("*.nii"), *folder.glob("*.nii.gz")]):
        case_id = path.name.removesuffix(".gz").removesuffix(".nii")
        if case_id in found:
            raise DataError(
                f"{found[case_id].name} and {path.name} are the same scan",
                where=folder,
                fix="keep one of them",
            )
        found[case_id] = path
    return found


def digest_of(*paths: Path | None) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(b"none" if path is None or not path.exists() else path.read_bytes())
    return digest.hexdigest()[:16]


def read_json(file: Path) -> dict:
    """The JSON object in ``file``. Raises DataError when there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            "there is no such file", where=file, fix="give the folder of a cohort that ssltut wrote"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"not valid JSON ({error})", where=file, fix="mend the file or write it again"
        ) from None
    if not isinstance(found, dict):
        raise DataError(
            "the file holds no JSON object", where=file, fix="mend the file or write it again"
        )
    return found
