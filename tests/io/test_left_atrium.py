"""The left-atrium scans: order, values, and what a damaged folder says."""

import json
from pathlib import Path

import numpy as np
import pytest

from ssltut.data.labels import ATRIUM
from ssltut.errors import ConfigError, DataError
from ssltut.io import left_atrium
from ssltut.io.cohort_folder import read_cohort
from ssltut.io.left_atrium import atrium_ids, is_atrium, load_atrium
from ssltut.io.verify import verify_paths

GOOD = {
    "image": np.arange(60, dtype=np.uint8).reshape(3, 4, 5),
    "label": (np.arange(60).reshape(3, 4, 5) > 30).astype(np.uint8),
    "offset": np.float32(-1.5),
    "scale": np.float32(0.25),
}


def made(folder: Path, changes: dict[str, object] | None = None) -> Path:
    """A folder with one scan, some of its arrays changed or (None) left out."""
    np.savez_compressed(
        folder / "A.npz", **{k: v for k, v in (GOOD | (changes or {})).items() if v is not None}
    )
    (folder / "train.list").write_text("B\nA\n")
    (folder / "manifest.json").write_text(json.dumps({"A": {"shape": [3, 4, 5]}}))
    return folder


def test_a_sound_folder(tmp_path: Path) -> None:
    assert not is_atrium(tmp_path)
    assert is_atrium(made(tmp_path))
    assert atrium_ids(tmp_path) == ["B", "A"]
    case = load_atrium(tmp_path, "A")
    assert case.image.dtype == np.float32
    assert np.array_equal(case.image, GOOD["image"] * 0.25 - 1.5)
    assert np.array_equal(case.label, GOOD["label"])
    assert case.label.dtype == np.uint8
    assert case.spacing == (0.625,) * 3
    assert case.meta["orientation"] == "unknown"
    assert case.patient == "A"
    (tmp_path / "manifest.json").unlink()
    assert is_atrium(tmp_path)
    assert load_atrium(tmp_path, "A").image.shape == (3, 4, 5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label": GOOD["label"][1:]}, r"the label \(2, 4, 5\)"),
        ({"label": GOOD["label"] * 2}, "values up to 2"),
        ({"scale": np.nan}, "finite"),
        ({"image": GOOD["image"][1:], "label": GOOD["label"][1:]}, r"expected \[3, 4, 5\]"),
        ({"scale": None}, "cannot be read.*scale"),
        ({"image": np.array([{}])}, "cannot be read"),
    ],
)
def test_a_scan_that_is_not_what_it_should_be(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        load_atrium(made(tmp_path, changes), "A")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_file_cut_off(tmp_path: Path, keep: float) -> None:
    file = made(tmp_path) / "A.npz"
    data = file.read_bytes()
    file.write_bytes(data[:keep] if isinstance(keep, int) else data[: int(keep * len(data))])
    with pytest.raises(DataError, match=r"cannot be read \(\d+ bytes.*download"):
        load_atrium(tmp_path, "A")


def test_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"B\.npz: the scan is missing"):
        load_atrium(made(tmp_path), "B")
    (tmp_path / "train.list").write_text("A\nA\n")
    with pytest.raises(DataError, match="names 2 scans, 1 of them different"):
        atrium_ids(tmp_path)
    (tmp_path / "train.list").unlink()
    with pytest.raises(DataError, match=r"no train\.list"):
        atrium_ids(tmp_path)


def test_verify_finds_every_bad_scan(tmp_path: Path) -> None:
    reports = verify_paths(made(tmp_path))
    assert [e.found for e in reports[0].errors] == ["the scan is missing"]
    assert reports[0].facts == {"scans": 2}
    (tmp_path / "train.list").write_text("A")
    assert verify_paths(tmp_path)[0].ok
    (tmp_path / "train.list").unlink()
    assert "no train.list" in verify_paths(tmp_path)[0].errors[0].found


def test_real_scans_are_those_published(shared: Path) -> None:
    h5py = pytest.importorskip("h5py")
    folder = shared / "left_atrium"
    ids = atrium_ids(folder)
    assert is_atrium(folder)
    assert len(ids) == 80
    assert all((folder / f"{i}.npz").is_file() for i in ids)
    case = load_atrium(folder, ids[0])
    with h5py.File(folder / "original_h5" / f"{ids[0]}.h5") as original:
        assert np.abs(case.image - original["image"][:]).max() < 1e-3
        assert np.array_equal(case.label, original["label"][:])
    assert case.label.max() < ATRIUM.n_classes


def scans(folder: Path, names: list[str], listed: str) -> Path:
    folder.mkdir()
    for i, name in enumerate(names):
        label = np.zeros((12, 10, 8), np.uint8)
        label[3:9, 3:7, 2:6] = 1
        image = np.random.default_rng(i).integers(0, 200, label.shape).astype(np.uint8)
        np.savez_compressed(
            folder / f"{name}.npz",
            image=image,
            label=label,
            offset=np.float32(0),
            scale=np.float32(0.01),
        )
    (folder / listed).write_text("\n".join(f"{name}/mri_norm2.h5" for name in names))
    return folder


def test_the_published_test_scans_leave_all_others_to_training(tmp_path: Path) -> None:
    names, held = [f"S{i:02d}" for i in range(34)], ["T1", "T2"]
    folder, test_list = (
        scans(tmp_path / "train", names, "train.list"),
        scans(tmp_path / "test", held, "test.list"),
    )
    alone, whole = read_cohort(folder).split, read_cohort(folder, test_list)
    assert (alone.test, alone.validation) == (tuple(names[18:]), tuple(names[14:18]))
    assert (whole.split.test, whole.split.validation) == (
        ("T1", "T2"),
        tuple(names[30:]),
    )
    assert whole.split.labelled == alone.labelled == tuple(names[:8])
    assert [case.id for case in whole.test()] == held
    assert whole.with_budget(16).split.labelled == tuple(names[:16])
    assert whole.name == "left atrium, published test"
    assert whole.hash != read_cohort(folder).hash


def test_a_test_list_that_cannot_be_used(tmp_path: Path) -> None:
    folder = scans(tmp_path / "train", [f"S{i:02d}" for i in range(34)], "train.list")
    with pytest.raises(DataError, match=r"no test\.list.*copy it beside the scans"):
        read_cohort(folder, tmp_path / "nowhere")
    twice = scans(tmp_path / "test", ["S03"], "test.list")
    with pytest.raises(DataError, match="S03"):
        read_cohort(folder, twice)
    with pytest.raises(ConfigError, match="belongs to the left-atrium scans"):
        read_cohort(tmp_path, twice)


def test_a_full_memory_is_no_damaged_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path)

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(left_atrium, "_read_arrays", full)
    with pytest.raises(MemoryError):
        load_atrium(folder, "A")
