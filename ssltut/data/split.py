"""Split: which scans are labelled, unlabelled, validation and test; ids and a hash, in a file."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ssltut.errors import DataError
from ssltut.seeding import rng_for

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
    def from_dict(parts: Mapping[str, Any], where: object) -> "Split":
        """The split in a split.json; DataError for a missing part or another hash."""
        if missing := [part for part in PARTS if part not in parts]:
            fix = f"give the four lists {', '.join(PARTS)}"
            raise DataError(f"no list {', '.join(missing)}", where=where, fix=fix)
        split = Split(*(tuple(map(str, parts[part])) for part in PARTS))
        if parts.get("hash", split.hash) != split.hash:
            hashes = f"their hash ({parts['hash']}, found {split.hash})"
            problem = f"the lists do not fit {hashes}: the split was changed afterwards"
            fix = "take the original file, or delete the hash if the change is intended"
            raise DataError(problem, where=where, fix=fix)
        return split

    def check(self, patients: Mapping[str, str], where: object) -> None:
        """Check the parts against ``patients`` (case id -> patient).

        Raises DataError for a case that is not there or listed twice, a patient in two parts, and
        an empty labelled or validation part.
        """
        if unknown := [case_id for case_id in self.all if case_id not in patients]:
            problem = f"the split names {len(unknown)} scans that are not there"
            fix = "add the scans or take them out of split.json"
            if unknown[0].lower().endswith((".nii", ".nii.gz")):
                fix = "write the names of the scans without .nii or .nii.gz"
            raise DataError(f"{problem}, the first is {unknown[0]}", where=where, fix=fix)
        for part in ("labelled", "validation"):
            if not getattr(self, part):
                fix = "move at least one labelled scan there"
                raise DataError(f"the part {part} of the split is empty", where=where, fix=fix)
        part_of: dict[str, str] = {}
        for part in PARTS:
            # Labelled and unlabelled are both training data: one patient may have scans in each.
            own = "training" if part in ("labelled", "unlabelled") else part
            for case_id in getattr(self, part):
                patient = patients[case_id]
                other = part_of.setdefault(patient, own)
                if other != own:
                    problem = f"patient {patient} is in {other} and in {own} (scan {case_id})"
                    fix = "keep all scans of a patient in one part"
                    raise DataError(problem, where=where, fix=fix)
        if repeated := [case_id for case_id, count in Counter(self.all).items() if count > 1]:
            fix = "list every scan once"
            raise DataError(f"the scan {repeated[0]} is listed twice", where=where, fix=fix)


def make_split(
    labelled: Mapping[str, str], unlabelled: Mapping[str, str] | None = None, *, seed: int = 0
) -> Split:
    """A patient-disjoint split of scans (id -> patient) with labels, and of scans without.

    A fifth of the patients is for the test, a tenth for validation, one at least for each; their
    scans without labels are left out. Raises DataError with fewer than three labelled patients.
    """
    patients = sorted(set(labelled.values()))
    if len(patients) < 3:
        fix = "label at least three: one each to train, to validate and to test"
        raise DataError(f"{len(patients)} patients have labels", fix=fix)
    drawn = [patients[i] for i in rng_for(seed, "split").permutation(len(patients))]
    n_test, n_validation = (max(1, round(share * len(patients))) for share in (0.2, 0.1))
    tested, validated = set(drawn[:n_test]), set(drawn[n_test : n_test + n_validation])
    held_out = tested | validated

    def scans_of(scans: Mapping[str, str], chosen: set[str]) -> tuple[str, ...]:
        return tuple(case_id for case_id in sorted(scans) if scans[case_id] in chosen)

    trained, bare = set(patients) - held_out, unlabelled or {}
    rest = scans_of(bare, set(bare.values()) - held_out)
    held = scans_of(labelled, validated), scans_of(labelled, tested)
    return Split(scans_of(labelled, trained), rest, *held)
