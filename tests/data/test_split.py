"""Splits: their hash, how they are read, and what makes one impossible."""

import json
from dataclasses import replace

import pytest

from ssltut.data.split import PARTS, Split, make_split
from ssltut.errors import DataError

SPLIT = Split(("a", "b"), ("c",), ("d",), ("e",))


PATIENTS = {case_id: case_id.upper() for case_id in "abcde"}


def as_dict(split=SPLIT, **changes):
    return {part: list(getattr(split, part)) for part in PARTS} | {"hash": split.hash} | changes


def test_the_hash_of_a_split_is_that_of_its_lists():
    assert (
        SPLIT.hash
        == Split(("a", "b"), ("c",), ("d",), ("e",)).hash
        == "".join(c for c in SPLIT.hash if c in "0123456789abcdef")
    )
    others = [
        replace(SPLIT, labelled=("b", "a")),
        replace(SPLIT, validation=("e",), test=("d",)),
        replace(SPLIT, unlabelled=()),
    ]
    assert len({split.hash for split in [SPLIT, *others]}) == 4
    assert len(SPLIT.hash) == 12


def test_a_split_is_read_back():
    assert Split.from_dict(json.loads(json.dumps(as_dict())), "split.json") == SPLIT
    assert (
        Split.from_dict({k: v for k, v in as_dict().items() if k != "hash"}, "split.json") == SPLIT
    )
    assert Split.from_dict(
        as_dict(
            labelled=[1, 2], hash=Split(("1", "2"), *(getattr(SPLIT, p) for p in PARTS[1:])).hash
        ),
        "x",
    ).labelled == ("1", "2")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (as_dict(test=["d"]), "the lists do not fit their hash"),
        ({"labelled": []}, "no list unlabelled, validation, test"),
    ],
)
def test_a_split_file_that_cannot_be_right_is_refused(found, words):
    with pytest.raises(DataError, match=rf"split\.json: {words}"):
        Split.from_dict(found, "split.json")


@pytest.mark.parametrize(
    ("split", "patients", "words"),
    [
        (replace(SPLIT, test=("z",)), PATIENTS, "names 1 scans that are not there, the first is z"),
        (SPLIT, PATIENTS | {"e": "A"}, r"patient A is in training and in test \(scan e\)"),
        (SPLIT, PATIENTS | {"d": "C"}, r"patient C is in training and in validation"),
        (replace(SPLIT, labelled=("a", "a")), PATIENTS, "scan a is listed twice"),
        (replace(SPLIT, labelled=()), PATIENTS, "part labelled .* empty"),
        (replace(SPLIT, validation=()), PATIENTS, "part validation .* empty"),
    ],
)
def test_leaking_or_impossible_splits_are_refused(split, patients, words):
    with pytest.raises(DataError, match=words):
        split.check(patients, "cohort")


def test_sound_splits_pass():
    SPLIT.check(PATIENTS, "cohort")
    SPLIT.check(
        PATIENTS | {"c": "A"}, "cohort"
    )  # a training patient may have labelled and unlabelled scans
    replace(SPLIT, test=()).check(PATIENTS, "cohort")


def test_make_split_keeps_patients_together():
    labelled = {f"scan{i:02d}": f"patient{i // 2}" for i in range(40)}
    split = make_split(labelled, {"extra": "patient99", "second": "patient0"}, seed=3)
    split.check(labelled | {"extra": "patient99", "second": "patient0"}, "made")
    assert (len(split.validation), len(split.test)) == (4, 8)
    assert "extra" in split.unlabelled
    held_out = {labelled[i] for i in (*split.validation, *split.test)}
    assert ("second" in split.unlabelled) == ("patient0" not in held_out)
    assert (
        split
        == make_split(labelled, {"extra": "patient99", "second": "patient0"}, seed=3)
        != make_split(labelled, seed=4)
    )


def test_make_split_needs_three_patients():
    with pytest.raises(DataError, match="2 patients have labels"):
        make_split({"a": "p", "b": "q", "c": "q"})
    assert [
        len(part)
        for part in (
            make_split({"a": "p", "b": "q", "c": "r"}).labelled,
            make_split({"a": "p", "b": "q", "c": "r"}).test,
        )
    ] == [1, 1]
