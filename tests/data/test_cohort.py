"""Splits, label tables, cohorts in memory and on disk, and scans on other voxels."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from nibabel.affines import apply_affine
from toy import toy_case, toy_cohort

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, fingerprint
from ssltut.data.labels import ATRIUM, BONE, HIP, TABLES, table_named, to_bone
from ssltut.data.resample import resample
from ssltut.data.split import PARTS, Split, make_split
from ssltut.errors import ConfigError, DataError, DataWarning
from ssltut.files import cache_dir
from ssltut.io.cohort_folder import read_cohort, write_cohort
from ssltut.synthetic.cohorts import synthetic_cohort

SPLIT = Split(("a", "b"), ("c",), ("d",), ("e",))
PATIENTS = {case_id: case_id.upper() for case_id in "abcde"}


def as_dict(split=SPLIT, **changes):
    return {part: list(getattr(split, part)) for part in PARTS} | {"hash": split.hash} | changes


# Splits


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
        (as_dict(labelled="ab"), "labelled is no list"),
        (as_dict(test=None), "test is no list"),
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


# Label tables


def test_tables_by_name_and_by_their_classes():
    assert [table_named(name) for name in TABLES] == [HIP, BONE, ATRIUM]
    assert table_named(json.loads(json.dumps(HIP.to_dict()))) == HIP
    own = table_named({"names": ["background", "liver", "spleen", "kidney"]})
    assert own.n_classes == 4 == len(set(own.colours))
    assert own.name == "own"
    assert to_bone(np.array([0, 1, 2], np.uint8)).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("knee", "no label table 'knee'"),
        (None, "no label table None"),
        ({"names": ["background"]}, "names"),
        ({}, "names"),
        ({"names": ["a", "a"]}, "different names"),
        ({"names": [str(i) for i in range(9)]}, "2 to 8 different names"),
    ],
)
def test_impossible_tables_are_refused(table, words):
    with pytest.raises(ConfigError, match=words):
        table_named(table)


# Cohorts


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
    with pytest.raises(ConfigError, match="are no hip"):
        bone.as_bone()


# Other voxels


def rounded(spacing=2.0, n=40):
    """A ball of radius 24 mm and one of 14 mm, in an oblique frame."""
    place = np.indices((n, n, n)) * spacing
    label = np.zeros((n, n, n), np.uint8)
    for value, radius, centre in ((1, 24.0, (40, 40, 30)), (2, 14.0, (40, 40, 62))):
        label[sum((p - c) ** 2 for p, c in zip(place, centre, strict=True)) < radius**2] = value
    turn = np.array([[0.8, -0.6, 0, 10], [0.6, 0.8, 0, -20], [0, 0, 1, 5], [0, 0, 0, 1.0]])
    return Case(
        "balls",
        "p",
        (label * 200.0 - 100.0).astype(np.int16),
        label,
        turn @ np.diag([spacing] * 3 + [1.0]),
    )


@pytest.mark.parametrize("spacing", [1.3, 3.0, 5.0])
def test_resampling_keeps_the_corners_in_mm(spacing):
    case = rounded()
    new = resample(case, (spacing,) * 3, 3)
    assert new.spacing == pytest.approx(tuple(80.0 / n for n in new.image.shape))
    assert new.spacing == pytest.approx((spacing,) * 3, rel=0.05)
    corners = np.array(list(np.ndindex(2, 2, 2)), float)
    outer = [apply_affine(c.affine, corners * c.image.shape - 0.5) for c in (case, new)]
    assert outer[0] == pytest.approx(outer[1])
    assert new.image.dtype == np.int16
    assert new.source is None
    for value in (1, 2):
        centres, volumes = zip(
            *(
                (
                    apply_affine(c.affine, np.argwhere(c.label == value).mean(0)),
                    (c.label == value).sum() * np.prod(c.spacing),
                )
                for c in (case, new)
            ),
            strict=True,
        )
        assert centres[0] == pytest.approx(centres[1], abs=0.5)
        assert volumes[1] == pytest.approx(volumes[0], rel=0.1)


def test_resampling_to_the_same_voxels_changes_nothing():
    case = rounded()
    assert resample(case, (2.0, 2.0, 2.0), 3) is case
    assert (
        resample(
            replace(case, image=case.image.astype(np.float32), label=None), (4.0,) * 3, 3
        ).image.dtype
        == np.float32
    )


def test_a_class_that_shrinks_warns_and_one_that_does_not_is_silent():
    case = rounded()
    case.label[case.label == 2] = 0
    case.label[3, 3, 3] = 2
    with pytest.warns(
        DataWarning, match=r"balls: class 2 changed its volume by -100% when resampled to 6 mm"
    ):
        resample(case, (6.0,) * 3, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resample(rounded(), (3.0,) * 3, 3)


def test_resampled_cohorts():
    cohort = toy_cohort().resampled(4.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        assert cohort.case("case0").spacing == (4.0, 4.0, 4.0)
        assert cohort.as_bone().case("case0").image.shape == (8, 8, 8)
    assert cohort.spacing == 4.0
    assert cohort.split == toy_cohort().split
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="a voxel size of"):
            toy_cohort().resampled(wrong)


# The synthetic cohort and its cache


def test_synthetic_scans_are_made_once(monkeypatch, tmp_path):
    made = []

    def make_case(seed, *, size, pathology_rate, case_id):
        made.append((case_id, seed))
        meta = {"difficulty": 0.5, "pathology": ["cyst"]}
        return replace(toy_case(seed % 1000, size=16), id=case_id, patient=case_id, meta=meta)

    monkeypatch.setenv("SSLTUT_CACHE", str(tmp_path))
    monkeypatch.setattr("ssltut.synthetic.hip.make_case", make_case)
    sizes = {"labelled": 2, "validation": 1, "test": 2}
    cohort = synthetic_cohort(8, size=16, **sizes)
    assert (
        cohort.hash
        == synthetic_cohort(8, size=16, **sizes).hash
        != synthetic_cohort(8, size=16, seed=1, **sizes).hash
    )
    assert not made
    first, again = cohort.case("hip003"), synthetic_cohort(8, size=16, **sizes).case("hip003")
    assert len(made) == 1
    assert fingerprint(first) == fingerprint(again)
    assert again.meta == {"difficulty": 0.5, "pathology": ["cyst"]}
    assert again.patient == "hip003"
    assert [p.name for p in tmp_path.rglob("*.npz")] == ["hip003.npz"]
    assert [len(getattr(cohort.split, part)) for part in PARTS] == [2, 3, 1, 2]
    synthetic_cohort(9, size=16, **sizes).case("hip003")
    assert len(made) == 1
    assert len({cohort.sources[i].fingerprint for i in cohort.sources}) == 8
    for wrong in ({"labelled": 6}, {"labelled": 0}):
        with pytest.raises(ConfigError, match="8 scans cannot give"):
            synthetic_cohort(8, **sizes | wrong)


def test_the_cache_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SSLTUT_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("SSLTUT_CACHE")
    assert cache_dir().name == "ssltut"


# Cohorts on disk


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
        assert (a.patient, dict(a.meta)) == (
            b.patient,
            dict(b.meta),
        )
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
        (lambda f: (f / "split.json").write_text("{"), DataError, r"split\.json: not valid JSON"),
        (lambda f: (f / "split.json").write_text("[1]"), DataError, "holds no JSON object"),
        (
            lambda f: (f / "cases.json").write_bytes(b"\xff\xfe\x00"),
            DataError,
            r"cases\.json: not valid JSON",
        ),
        (lambda f: change(f, patients=["p"]), DataError, "patients is no table"),
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


def test_unlabelled_scans_whose_label_is_there_are_known():
    cohort = toy_cohort()
    first, *others = cohort.split.unlabelled
    assert cohort.known_unlabelled() == cohort.split.unlabelled
    cohort.sources[first] = cohort.sources[first]._replace(has_label=False)
    assert cohort.known_unlabelled() == tuple(others)
