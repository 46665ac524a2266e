"""Split: which scans are labelled, unlabelled, validation and test. A file with patients and a
hash, never the order of a list.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from ssltut.errors import DataError
from ssltut.seeding import derive_seed

PARTS = ("labelled", "unlabelled", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Case ids of the four parts."""

    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.labelled, *self.unlabelled, *self.validation, *self.test)

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @staticmethod
    def from_dict(found: Mapping[str, object], where: object) -> "Split":
        """The split in a split.json. Raises DataError when a part is missing or no list, or the
        lists do not fit their hash.
        """
        if missing := [part for part in PARTS if part not in found]:
            raise DataError(
                f"no list {', '.join(missing)}",
                where=where,
                fix=f"give the four lists {', '.join(PARTS)}",
            )
        if wrong := [part for part in PARTS if not isinstance(found[part], list | tuple)]:
            raise DataError(
                f"{', '.join(wrong)} is no list", where=where, fix="give a list of scan names"
            )
        split = Split(*(tuple(map(str, found[part])) for part in PARTS))
        if found.get("hash", split.hash) != split.hash:
            raise DataError(
                f"the lists do not fit their hash ({found['hash']}, found {split.hash}): the split"
                " was changed afterwards",
                where=where,
                fix="take the original file, or delete the hash if the change is meant",
            )
        return split

    def check(self, patients: Mapping[str, str], where: object) -> None:
        """Raises DataError when a listed case is not in ``patients`` (case id -> patient), or a
        case or a patient is in two parts.
        """
        if unknown := [case_id for case_id in self.all if case_id not in patients]:
            raise DataError(
                f"the split names {len(unknown)} scans that are not there, the first is"
                f" {unknown[0]}",
                where=where,
                fix="add the scans or take them out of split.json",
            )
        for part in ("labelled", "validation"):
            if not getattr(self, part):
                raise DataError(
                    f"the part {part} of the split is empty",
                    where=where,
                    fix="move at least one labelled scan there",
                )
        part_of: dict[str, str] = {}
        for part in PARTS:
            # Labelled and unlabelled are both training data: one patient may have scans in each.
            side = "training" if part in ("labelled", "unlabelled") else part
            for case_id in getattr(self, part):
                if part_of.setdefault(patients[case_id], side) != side:
                    raise DataError(
                        f"patient {patients[case_id]} is in {part_of[patients[case_id]]} and in"
                        f" {side} (scan {case_id})",
                        where=where,
                        fix="keep all scans of a patient in one part",
                    )
        if len(set(self.all)) != len(self.all):
            double = next(case_id for case_id in self.all if self.all.count(case_id) > 1)
            raise DataError(
                f"the scan {double} is listed twice", where=where, fix="list every scan once"
            )


def make_split(
    labelled: Mapping[str, str],
    unlabelled: Mapping[str, str] | None = None,
    *,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
) -> Split:
    """A patient-disjoint split of scans (id -> patient) with labels; scans without labels become
    unlabelled training scans.

    A scan without label of a held-out patient is left out. Raises DataError with fewer than three
    patients that have labels.
    """
    patients = sorted(set(labelled.values()))
    if len(patients) < 3:
        raise DataError(
            f"{len(patients)} patients have labels",
            fix="label at least three: one each to train, to validate and to test",
        )
    order = [
        patients[i]
        for i in np.random.default_rng(derive_seed(seed, "split")).permutation(len(patients))
    ]
    n_test, n_validation = (max(1, round(share * len(patients))) for share in (test, validation))
    tested, validated = set(order[:n_test]), set(order[n_test : n_test + n_validation])
    side = {"test": tested, "validation": validated, "labelled": set(order) - tested - validated}
    parts = {
        part: tuple(i for i, patient in sorted(labelled.items()) if patient in chosen)
        for part, chosen in side.items()
    }
    rest = tuple(
        i for i, patient in sorted((unlabelled or {}).items()) if patient not in tested | validated
    )
    return Split(parts["labelled"], rest, parts["validation"], parts["test"])
