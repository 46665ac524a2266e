"""Cohorts in memory: their parts, budgets, hash and views."""

from dataclasses import replace

import numpy as np
import pytest
from toy import toy_case, toy_cohort

from ssltut.data.cohort import Cohort, fingerprint
from ssltut.data.labels import ATRIUM, BONE, HIP, table_named
from ssltut.data.split import Split
from ssltut.errors import ConfigError, DataError


def test_unlabelled_cases_have_no_label_even_when_it_is_known():
    cohort = toy_cohort()
    assert all(case.label is None for case in cohort.training("unlabelled"))
    assert len(cohort.training("unlabelled")) == 3
    for part in (cohort.training("labelled"), cohort.validation(), cohort.test()):
        assert part
        assert all(case.label is not None for case in part)


def test_a_labelled_part_without_labels_is_refused():
    cases = [toy_case(i) for i in range(4)]
    cases[2] = cases[2].without_label()
    cohort = Cohort.from_cases(
        cases, Split(("case0",), ("case1",), ("case2",), ("case3",)), HIP, "toy"
    )
    with pytest.raises(
        DataError, match="1 cases of the part validation have no label, the first is case2"
    ):
        cohort.validation()
    assert len(cohort.test()) == 1


def test_unknown_cases_are_refused():
    with pytest.raises(DataError, match="no case 'case99'"):
        toy_cohort().case("case99")
    assert toy_cohort().case("case1").id == "case1"


def test_a_leaking_split_makes_no_cohort():
    cases = [toy_case(0), toy_case(1), replace(toy_case(2), patient="patient0")]
    with pytest.raises(DataError, match="patient patient0"):
        Cohort.from_cases(cases, Split(("case0",), (), ("case1",), ("case2",)), HIP, "toy")


def test_the_hash_changes_with_content_split_and_view():
    cohort, other = toy_cohort(), toy_cohort()
    changed = [
        replace(toy_case(i), affine=np.diag([2.0, 2.0, 2.5, 1.0])) if i == 3 else toy_case(i)
        for i in range(8)
    ]
    hashes = [
        cohort.hash,
        cohort.with_budget(3).hash,
        cohort.as_bone().hash,
        cohort.resampled(4.0).hash,
        cohort.resampled(3.0).hash,
        Cohort.from_cases(changed, cohort.split, HIP, "toy").hash,
    ]
    assert cohort.hash == other.hash
    assert len(set(hashes)) == len(hashes)
    assert fingerprint(toy_case(1)) != fingerprint(toy_case(1).without_label())


def test_budgets():
    cohort = toy_cohort(12, labelled=2)
    training = {*cohort.split.labelled, *cohort.split.unlabelled}
    assert cohort.with_budget(4).split.labelled == ("case0", "case1", "case2", "case3")
    assert cohort.with_budget("all").split.unlabelled == ()
    assert set(cohort.with_budget("all").split.labelled) == training
    drawn = [cohort.with_budget(4, seed).split for seed in range(4)]
    assert len({split.labelled for split in drawn}) > 1
    assert drawn[0] == cohort.with_budget(4, 0).split
    for split in drawn:
        assert {*split.labelled, *split.unlabelled} == training
        assert len(split.labelled) == 4
        assert (split.validation, split.test) == (cohort.split.validation, cohort.split.test)
    assert cohort.with_budget(4, np.int64(3)).split == drawn[3]  # a seed read from a table
    assert set(cohort.with_budget(2, 5).split.labelled) < set(
        cohort.with_budget(4, 5).split.labelled
    )  # a larger budget adds scans
    for n in (0, 10, -1):
        with pytest.raises(
            ConfigError, match=f"a budget of {n} labelled scans, but 9 training scans have labels"
        ):
            cohort.with_budget(n)


def test_bone_against_rest():
    bone = toy_cohort().as_bone()
    assert bone.table == BONE
    assert set(np.unique(bone.case("case0").label)) == {0, 1}
    assert np.array_equal(bone.case("case0").label > 0, toy_case(0).label > 0)
    assert bone.training("unlabelled")[0].label is None
    assert bone.hash == "9846badf1c47"  # runs on hips stay those they were
    assert bone.as_bone() is bone


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (("background", "femur", "hip bone"), "bone"),
        (("background", "hip bone", "bladder"), "foreground"),
        (("background", "liver", "spleen", "kidney"), "foreground"),
    ],
)
def test_all_classes_of_any_table_become_one_that_is_called_what_it_is(names, name):
    whole = replace(toy_cohort(), table=table_named({"name": "own", "names": names}))
    one = whole.as_bone()
    assert one.table == table_named(one.table.to_dict())
    assert one.table.names == ("background", name)
    assert set(np.unique(one.case("case0").label)) == {0, 1}
    assert one.hash != whole.hash


def test_a_cohort_of_two_classes_is_its_own_binary_view():
    atrium = replace(toy_cohort(), table=ATRIUM)
    assert atrium.as_bone() is atrium


def test_unlabelled_scans_whose_label_is_there_are_known():
    cohort = toy_cohort()
    first, *others = cohort.split.unlabelled
    assert cohort.known_unlabelled() == cohort.split.unlabelled
    cohort.sources[first] = cohort.sources[first]._replace(has_label=False)
    assert cohort.known_unlabelled() == tuple(others)
