"""Public scans: only the right bytes are kept, every failure says what to do, and the hips are cut out on the right side."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pooch
import pytest
import requests

from ssltut.data import public
from ssltut.data.case import Case
from ssltut.data.hips import crop_hips
from ssltut.data.public import CT, EXAMPLE, REGISTRY, fetch, find_totalsegmentator_example, read_totalsegmentator_example
from ssltut.errors import ConfigError, DataError

BYTES = b"the scan of a patient"
AFFINE = np.array([[2, 0, 0, -40], [0, 2, 0, -30], [0, 0, 4, -100], [0, 0, 0, 1.0]])


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry whose CT is BYTES, and no mirror in the environment."""
    monkeypatch.setattr(public, "REGISTRY", {CT: replace(REGISTRY[CT], sha256=hashlib.sha256(BYTES).hexdigest())})
    monkeypatch.delenv("SSLTUT_MIRROR", raising=False)


def serve(monkeypatch: pytest.MonkeyPatch, answer: bytes | Exception) -> list[str]:
    """Let downloads give ``answer``; the list fills with the addresses asked for."""
    asked: list[str] = []

    def download(self: object, url: str, output_file: str, downloader: object) -> None:
        asked.append(url)
        if isinstance(answer, Exception):
            raise answer
        Path(output_file).write_bytes(answer)

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", download)
    return asked


@pytest.mark.parametrize("where", ["", EXAMPLE])
@pytest.mark.parametrize("by_environment", [True, False])
def test_mirror(registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, by_environment: bool) -> None:
    asked, mirror = serve(monkeypatch, BYTES), tmp_path / "mirror"
    (mirror / where).mkdir(parents=True)
    (mirror / where / CT).write_bytes(BYTES)
    if by_environment:
        monkeypatch.setenv("SSLTUT_MIRROR", str(mirror))
    path = fetch(CT, tmp_path / "out", None if by_environment else mirror)
    assert path == tmp_path / "out" / CT and path.read_bytes() == BYTES and not asked


def test_downloaded_once_and_again_when_damaged(registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, BYTES)
    assert fetch(CT, tmp_path) == fetch(CT, tmp_path) and asked == [REGISTRY[CT].url]
    (tmp_path / CT).write_bytes(b"damaged")
    assert fetch(CT, tmp_path).read_bytes() == BYTES and len(asked) == 2 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("answer", "words"), [
    (b"other bytes", f"expected sha256 {hashlib.sha256(BYTES).hexdigest()}, got {hashlib.sha256(b'other bytes').hexdigest()}"),
    (requests.ConnectionError("no route"), "ConnectionError: no route.*SSLTUT_MIRROR"), (requests.HTTPError("404"), "HTTPError: 404")])
def test_nothing_is_kept_of_a_failed_download(registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer, words: str) -> None:
    serve(monkeypatch, answer)
    with pytest.raises(DataError, match=words):
        fetch(CT, tmp_path)
    assert not list(tmp_path.iterdir())


def test_unknown_name_and_mirror_without_the_file(registry: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no public file 'x'"):
        fetch("x", tmp_path)
    with pytest.raises(DataError, match=f"mirror does not hold {CT}"):
        fetch(CT, tmp_path / "out", tmp_path)


def test_example_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLTUT_CACHE", str(tmp_path))
    assert find_totalsegmentator_example() is None
    for name in REGISTRY:
        assert find_totalsegmentator_example() is None
        path = public._cache(EXAMPLE) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find_totalsegmentator_example() == path.parent and tmp_path in path.parents


def pelvis() -> Case:
    """Two femurs of 30 mm in x, of which the right one (larger x in RAS+) holds HU 700, under hip bones that touch in the middle."""
    image, label = np.zeros((80, 40, 50), np.int16), np.zeros((80, 40, 50), np.uint8)
    label[15:66, 15:25, 25:40] = 1
    label[5:20, 15:25, :30] = label[60:75, 15:25, :30] = 2
    image[60:75, 15:25, :30] = 700
    return Case("p", "p", image, label, AFFINE, {"modality": "CT"})


def test_hips_are_cut_where_they_lie() -> None:
    case = pelvis()
    hips = crop_hips(case, 40)
    assert list(hips) == ["left", "right"] and [h.id for h in hips.values()] == ["p-left", "p-right"]
    assert hips["right"].image.max() == 700 and hips["left"].image.max() == 0
    for hip in hips.values():
        assert hip.image.shape == (20, 20, 10) and hip.spacing == case.spacing
        low = np.linalg.solve(AFFINE, hip.affine[:, 3])[:3].astype(int)
        box = tuple(slice(a, a + n) for a, n in zip(low, hip.image.shape, strict=True))
        assert np.array_equal(hip.label, case.label[box]) and np.array_equal(hip.affine[:3, 3], AFFINE[:3, :3] @ low + AFFINE[:3, 3])
        heads = hip.affine @ np.append(np.argwhere(hip.label == 2).mean(axis=0), 1)
        assert abs(heads[0] - {"left": -16, "right": 94}[hip.meta["side"]]) < 6
    assert crop_hips(case, 1000)["left"].image.shape == case.image.shape


@pytest.mark.parametrize(("label", "words"), [(None, "no hip joint was found on the left"), (np.zeros((80, 40, 50), np.uint8), "no label with hip bone"),
                                              (np.where(np.arange(80)[:, None, None] > 50, pelvis().label, pelvis().label % 2), "no femur on the left")])
def test_hips_that_cannot_be_found(label: np.ndarray | None, words: str) -> None:
    with pytest.raises(DataError, match=words):
        crop_hips(replace(pelvis(), label=label))


def test_real_example(shared: Path, tmp_path: Path) -> None:
    from ssltut.data.nifti import read_case

    folder = shared / EXAMPLE
    case, raw = read_totalsegmentator_example(folder), read_case(folder / CT, folder / public.SEGMENTATION)
    assert np.bincount(case.label.ravel()).tolist()[1:] == [13166 + 13048, 4488 + 4396]
    hips = crop_hips(case)
    for side, value in (("left", 75), ("right", 76)):  # femur_left, femur_right
        own = (raw.affine @ np.append(np.argwhere(raw.label == value).mean(axis=0), 1))[0]
        femur = np.argwhere(hips[side].label == 2)
        assert abs((hips[side].affine @ np.append(femur.mean(axis=0), 1))[0] - own) < 3 and max(hips[side].image.shape) * 3 <= 162
    assert hips["left"].image.max() > 3000 > hips["right"].image.max()  # the nail
    done = script("--mirror", shared, "--out", tmp_path)
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in REGISTRY)
    assert done.returncode == 0 and "122 x 101 x 112 voxels of 3 mm" in done.stdout
    (tmp_path / "empty").mkdir()
    failed = script("--mirror", tmp_path / "empty", "--out", tmp_path / "new")
    assert failed.returncode == 2 and failed.stderr.count("\n") == 1 and "mirror does not hold" in failed.stderr


def script(*args: object) -> subprocess.CompletedProcess[str]:
    file = Path(__file__).parents[1] / "data_scripts" / "totalsegmentator_example.py"
    return subprocess.run([sys.executable, file, *args], capture_output=True, text=True, check=False)
