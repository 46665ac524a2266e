"""Cohorts on disk: read as they were written, or refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from toy import toy_case, toy_cohort

from ssltut.data.cohort import Cohort
from ssltut.data.labels import HIP, table_named
from ssltut.data.split import Split
from ssltut.errors import ConfigError, DataError
from ssltut.io.cohort_folder import read_cohort, write_cohort


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohorts") / "toy"
    write_cohort(toy_cohort(), folder)
    return folder


@pytest.fixture
def copy(written, tmp_path):
    import shutil

    return shutil.copytree(written, tmp_path / "copy")


def change(folder, **values):
    file = folder / "split.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_cohort_is_read_as_it_was_written(written):
    cohort, found = toy_cohort(), read_cohort(written)
    assert (found.name, found.table, found.modality, found.split, found.spacing) == (
        "toy",
        HIP,
        "CT",
        cohort.split,
        None,
    )
    for case_id in cohort.sources:
        a, b = cohort.case(case_id), found.case(case_id)
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.label, b.label)
        assert np.array_equal(a.affine, b.affine)
        assert (a.patient, dict(a.meta)) == (b.patient, dict(b.meta))
        assert a.image.dtype == b.image.dtype
    assert found.training("unlabelled")[0].label is None
    assert sorted(p.name for p in written.parent.iterdir()) == ["toy"]


def test_own_classes_patients_and_unlabelled_scans_travel_along(tmp_path):
    own = table_named({"name": "abdomen", "names": ["background", "liver", "spleen"]})
    cases = [
        replace(toy_case(i), patient=f"p{i // 2}", label=None if i == 1 else toy_case(i).label)
        for i in range(6)
    ]
    split = Split(("case0",), ("case1",), ("case2", "case3"), ("case4", "case5"))
    write_cohort(Cohort.from_cases(cases, split, own, "abdomens", "MR"), tmp_path / "c")
    found = read_cohort(tmp_path / "c")
    assert (found.table, found.modality, found.sources["case3"].patient) == (own, "MR", "p1")
    assert not found.sources["case1"].has_label
    assert found.case("case1").label is None
    assert found.case("case0").image.dtype == np.float32


def test_without_split_json_one_is_made(copy):
    (copy / "split.json").unlink()
    (copy / "labels" / "case2.nii.gz").unlink()
    found = read_cohort(copy)
    assert found.split.unlabelled == ("case2",)
    assert len(found.split.all) == 8
    assert found.split == read_cohort(copy).split
    assert found.name == "copy"
    assert found.table == HIP


def test_a_folder_with_files_is_refused_and_nothing_lost(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty"):
        write_cohort(toy_cohort(), tmp_path / "c")
    assert [p.name for p in tmp_path.rglob("*")] == ["c", "thesis.txt"]


def test_a_failure_leaves_no_half_written_folder(tmp_path):
    cohort = toy_cohort()
    cohort.sources["case5"] = cohort.sources["case5"]._replace(
        load=lambda: (_ for _ in ()).throw(DataError("cannot be read", where="case5"))
    )
    with pytest.raises(DataError, match="case5"):
        write_cohort(cohort, tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (
            lambda f: change(f, test=["case6"]),
            DataError,
            r"split\.json: the lists do not fit their hash",
        ),
        (lambda f: change(f, labelled="ab"), DataError, r"json: labelled is 'ab'.*give a list of"),
        (lambda f: change(f, test=None), DataError, r"json: test is None.*give a list of"),
        (lambda f: (f / "split.json").write_text("{"), DataError, r"split\.json: not valid JSON"),
        (lambda f: (f / "split.json").write_text("[1]"), DataError, "does not hold a JSON object"),
        (
            lambda f: (f / "cases.json").write_bytes(b"\xff\xfe\x00"),
            DataError,
            r"cases\.json: the file is no text in UTF-8",
        ),
        (
            lambda f: change(f, patients=["p"]),
            DataError,
            "patients is ..p...*Next: give a table with text",
        ),
        (lambda f: change(f, table="knee"), ConfigError, "no label table 'knee'"),
        (
            lambda f: change(f, patients={"case0": "p", "case7": "p"}),
            DataError,
            "patient p is in training and in test",
        ),
        (
            lambda f: (f / "images" / "case0.nii.gz").unlink(),
            DataError,
            r"1 labels have no image, the first is case0\.nii\.gz",
        ),
        (
            lambda f: [(f / kind / "case0.nii.gz").unlink() for kind in ("images", "labels")],
            DataError,
            "names 1 scans that are not there",
        ),
        (lambda f: (f / "images" / "case0.nii").write_bytes(b""), DataError, "are the same scan"),
        (lambda f: [p.unlink() for p in (f / "images").iterdir()], DataError, "there are no scans"),
    ],
)
def test_a_folder_that_is_no_sound_cohort_is_refused(copy, spoil, error, words):
    read_cohort(copy)
    spoil(copy)
    with pytest.raises(error, match=words) as found:
        read_cohort(copy)
    assert "\n" not in str(found.value)


def test_no_folder_is_no_cohort(tmp_path):
    with pytest.raises(DataError, match="there are no scans"):
        read_cohort(tmp_path / "nowhere")
