"""Public scans: only the right bytes are kept, every failure says what to do, and the hips are cut
out on the right side.
"""

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest
import requests

from ssltut.cli.main import main
from ssltut.data.case import Case
from ssltut.data.crop_hips import crop_hips
from ssltut.data.labels import LABEL_MAPS
from ssltut.errors import ConfigError, DataError
from ssltut.io import public
from ssltut.io.left_atrium import is_atrium, load_atrium
from ssltut.io.public import (
    CT,
    EXAMPLE,
    SETS,
    PublicFile,
    fetch,
    fetch_set,
    find_totalsegmentator_example,
    read_totalsegmentator_example,
)

BYTES = b"the scan of a patient"
LONG = BYTES * 400
AFFINE = np.array([[2, 0, 0, -40], [0, 2, 0, -30], [0, 0, 4, -100], [0, 0, 0, 1.0]])


def one_file(**changes: object) -> PublicFile:
    sha = f"sha256:{hashlib.sha256(BYTES).hexdigest()}"
    return replace(PublicFile(CT, "https://example.org/ct.nii.gz", sha, len(BYTES)), **changes)


def register(monkeypatch: pytest.MonkeyPatch, *files: PublicFile, **about: object) -> None:
    """A registry whose only set holds ``files``, and no mirror in the environment."""
    monkeypatch.setattr(public, "SETS", {EXAMPLE: replace(SETS[EXAMPLE], files=files, **about)})
    monkeypatch.delenv("SSLTUT_MIRROR", raising=False)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, one_file())


def serve(
    monkeypatch: pytest.MonkeyPatch, answer: bytes | Exception, after: bytes = b""
) -> list[str]:
    """Let downloads give ``answer``, an exception after the bytes ``after``; the list fills with
    the addresses asked for.
    """
    asked: list[str] = []

    def download(self: object, url: str, output_file: object, downloader: object) -> None:
        asked.append(url)
        output_file.write(after if isinstance(answer, Exception) else answer)
        if isinstance(answer, Exception):
            raise answer

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", download)
    return asked


@pytest.mark.parametrize("where", ["", EXAMPLE])
@pytest.mark.parametrize("by_environment", [True, False])
def test_mirror(
    registry: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    by_environment: bool,
) -> None:
    asked, mirror = serve(monkeypatch, BYTES), tmp_path / "mirror"
    (mirror / where).mkdir(parents=True)
    (mirror / where / CT).write_bytes(BYTES)
    if by_environment:
        monkeypatch.setenv("SSLTUT_MIRROR", str(mirror))
    path = fetch(CT, tmp_path / "out", None if by_environment else mirror)
    assert path == tmp_path / "out" / CT
    assert path.read_bytes() == BYTES
    assert not asked
    assert fetch_set(EXAMPLE, tmp_path / "set", mirror) == tmp_path / "set"
    assert (tmp_path / "set" / CT).read_bytes() == BYTES
    assert not asked


def test_downloaded_once_and_again_when_damaged(
    registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve(monkeypatch, BYTES)
    assert fetch(CT, tmp_path) == fetch(CT, tmp_path)
    assert asked == ["https://example.org/ct.nii.gz"]
    (tmp_path / CT).write_bytes(b"damaged")
    assert fetch(CT, tmp_path).read_bytes() == BYTES
    assert len(asked) == 2
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            b"other bytes",
            (
                f"expected sha256 {hashlib.sha256(BYTES).hexdigest()}, got sha256"
                f" {hashlib.sha256(b'other bytes').hexdigest()} .11 bytes of 21"
            ),
        ),
        (requests.ConnectionError("no route"), "ConnectionError: no route.*SSLTUT_MIRROR"),
        (requests.HTTPError("404"), "HTTPError: 404"),
    ],
)
def test_nothing_is_kept_of_a_failed_download(
    registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer, words: str
) -> None:
    serve(monkeypatch, answer)
    with pytest.raises(DataError, match=words):
        fetch(CT, tmp_path)
    assert not list(tmp_path.iterdir())


class Server(BaseHTTPRequestHandler):
    """Gives LONG; honours ranges unless told not to, and breaks off after ``stop`` bytes once."""

    ranges, stop, asked = True, 0, []

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if self.ranges else 0
        self.asked.append(self.headers.get("Range"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(LONG) - start))
        self.end_headers()
        self.wfile.write(LONG[start : Server.stop or None])
        Server.stop = 0
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    for name, value in (("ranges", ranges), ("stop", 5000), ("asked", [])):
        monkeypatch.setattr(Server, name, value)
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sha = f"sha256:{hashlib.sha256(LONG).hexdigest()}"
        register(
            monkeypatch,
            one_file(url=f"http://127.0.0.1:{server.server_port}/ct", checksum=sha, size=len(LONG)),
        )
        with pytest.raises(DataError, match="the download failed.*goes on where it stopped"):
            fetch(CT, tmp_path)
        have = (tmp_path / f".{CT}.part").read_bytes()
        assert not (tmp_path / CT).exists()
        assert LONG.startswith(have)
        assert 0 < len(have) <= 5000
        assert fetch(CT, tmp_path).read_bytes() == LONG
        assert [p.name for p in tmp_path.iterdir()] == [CT]
        assert Server.asked == [
            None,
            f"bytes={len(have)}-",
            f"bytes={len(have)}-" if ranges else None,
        ]
        server.shutdown()


def test_unknown_names_and_mirror_without_the_file(registry: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no public file 'x'"):
        fetch("x", tmp_path)
    with pytest.raises(ConfigError, match=f"no data set 'x'.*{EXAMPLE}"):
        fetch_set("x", tmp_path)
    with pytest.raises(DataError, match=f"mirror does not hold {CT}"):
        fetch(CT, tmp_path / "out", tmp_path)


def test_licences_that_ask_for_it_are_accepted_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, one_file(), terms="https://example.org/terms", licence="CC BY-NC 4.0")
    asked = serve(monkeypatch, BYTES)
    with pytest.raises(
        ConfigError,
        match=(
            r"accepted first: CC BY-NC 4\.0 Next: read https://example.org/terms, then add"
            r" --accept-licence"
        ),
    ):
        fetch_set(EXAMPLE, tmp_path / "out")
    assert not asked
    assert not (tmp_path / "out").exists()
    assert (fetch_set(EXAMPLE, tmp_path / "out", accept=True) / CT).read_bytes() == BYTES


def test_a_checksum_that_nobody_knows_is_recorded_at_the_first_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, one_file(checksum=None, size=None))
    asked = serve(monkeypatch, BYTES)
    fetch_set(EXAMPLE, tmp_path), fetch_set(EXAMPLE, tmp_path)
    assert json.loads((tmp_path / "checksums.json").read_text()) == {CT: one_file().checksum}
    assert len(asked) == 1
    (tmp_path / CT).write_bytes(b"damaged")
    serve(monkeypatch, b"another file")
    with pytest.raises(DataError, match="wrong checksum: expected sha256"):
        fetch_set(EXAMPLE, tmp_path)
    assert (tmp_path / CT).read_bytes() == b"damaged"


def test_a_wrong_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, one_file(checksum=None, size=22))
    serve(monkeypatch, BYTES)
    with pytest.raises(DataError, match="21 bytes of 22"):
        fetch_set(EXAMPLE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_before_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, one_file(size=10**17))
    asked = serve(monkeypatch, BYTES)
    with pytest.raises(DataError, match="100000000.0 GB are needed"):
        fetch_set(EXAMPLE, tmp_path)
    assert not asked


def packed(kind: str, members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def archived(monkeypatch: pytest.MonkeyPatch, kind: str, data: bytes) -> None:
    register(
        monkeypatch,
        PublicFile(
            f"data.{kind}",
            "https://example.org/d",
            f"md5:{hashlib.md5(data).hexdigest()}",
            len(data),
            True,
        ),
    )
    serve(monkeypatch, data)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_are_unpacked_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    archived(monkeypatch, kind, packed(kind, {"s1/ct.nii.gz": BYTES, "meta.csv": b"a,b"}))
    for _ in range(2):
        fetch_set(EXAMPLE, tmp_path)
        assert (tmp_path / "data" / "s1" / "ct.nii.gz").read_bytes() == BYTES
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", f"data.{kind}"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", ["../evil", "/tmp/ssltut-evil", "a/../../evil"])
def test_archives_do_not_leave_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    archived(monkeypatch, kind, packed(kind, {"good": BYTES, name: BYTES}))
    with pytest.raises(DataError, match="1 members would land outside the folder"):
        fetch_set(EXAMPLE, tmp_path / "in")
    assert not list(tmp_path.rglob("*evil"))
    assert not (tmp_path / "in" / "data").exists()
    assert not Path("/tmp/ssltut-evil").exists()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_links_and_damage_in_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    archived(monkeypatch, kind, packed(kind, {"ct": np.random.default_rng(0).bytes(9999)})[:-40])
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch_set(EXAMPLE, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [f"data.{kind}"]


def test_a_link_out_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "../../.."
        archive.addfile(info)
    archived(monkeypatch, "tar.gz", out.getvalue())
    with pytest.raises(DataError, match="LinkOutsideDestination"):
        fetch_set(EXAMPLE, tmp_path)


def test_every_entry_of_the_table_is_complete() -> None:
    assert {
        EXAMPLE,
        "tcga_ov_hip",
        "totalsegmentator_v2",
        "ctpelvic1k",
        "left_atrium",
        "acdc",
        "hc18",
    } <= set(SETS)
    for about in SETS.values():
        assert about.licence
        assert about.citation
        assert about.holds
        assert about.checksums
        assert all(file.url.startswith("https://") for file in about.files)
        assert len({file.path for file in about.files}) == len(about.files)
        assert not any(".." in file.path or file.path.startswith("/") for file in about.files)
        assert all(
            re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", file.checksum or "")
            or "none known" in about.checksums
            for file in about.files
        )
        if mapping := re.search(r"--labels (\S+)", about.ingest):
            assert mapping[1] in LABEL_MAPS


def test_the_mirror_of_real_bytes(shared: Path, tmp_path: Path) -> None:
    folder = fetch_set("tcga_ov_hip", tmp_path / "ov", shared, accept=True)
    assert len(list((folder / "dicom").iterdir())) == 80
    mirror = tmp_path / "mirror"
    for name in ("06SR5RBREL16DQ6M8LWS", "3C2QTUNI0852XV7ZH4Q1"):
        (mirror / name).mkdir(parents=True)
        shutil.copy(
            shared / "left_atrium" / "original_h5" / f"{name}.h5", mirror / name / "mri_norm2.h5"
        )
    shutil.copy(shared / "left_atrium" / "train.list", mirror)
    with pytest.raises(
        DataError, match="the mirror does not hold 0RZDK210BSMWAA6467LU/mri_norm2.h5"
    ):
        fetch_set("left_atrium", tmp_path / "la", mirror, accept=True)
    kept = load_atrium(shared / "left_atrium", "06SR5RBREL16DQ6M8LWS")
    published = load_atrium(tmp_path / "la", "06SR5RBREL16DQ6M8LWS")
    assert np.abs(kept.image - published.image).max() < 0.05
    assert np.array_equal(kept.label, published.label)
    assert is_atrium(tmp_path / "la")


def test_the_command_lists_and_fetches(
    registry: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch"]) == 0
    assert "licence: Apache-2.0" in capsys.readouterr().out
    assert main(["fetch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["files"][0]["path"] == CT
    (tmp_path / CT).write_bytes(BYTES)
    assert main(["fetch", EXAMPLE, "--mirror", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert (
        f"next: ssltut ingest {tmp_path / 'out'} --labels totalsegmentator"
        in capsys.readouterr().out
    )
    assert (tmp_path / "out" / CT).is_file()
    assert main(["fetch", "nothing"]) == 2
    assert capsys.readouterr().err.startswith("ssltut fetch: there is no data set 'nothing'")


def test_example_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLTUT_CACHE", str(tmp_path))
    assert find_totalsegmentator_example() is None
    for file in SETS[EXAMPLE].files:
        assert find_totalsegmentator_example() is None
        path = public._cache(EXAMPLE) / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find_totalsegmentator_example() == path.parent
    assert tmp_path in path.parents


def pelvis() -> Case:
    """Two femurs of 30 mm in x, of which the right one (larger x in RAS+) holds HU 700, under hip
    bones that touch in the middle.
    """
    image, label = np.zeros((80, 40, 50), np.int16), np.zeros((80, 40, 50), np.uint8)
    label[15:66, 15:25, 25:40] = 1
    label[5:20, 15:25, :30] = label[60:75, 15:25, :30] = 2
    image[60:75, 15:25, :30] = 700
    return Case("p", "p", image, label, AFFINE, {"modality": "CT"})


def test_hips_are_cut_where_they_lie() -> None:
    case = pelvis()
    hips = crop_hips(case, 40)
    assert list(hips) == ["left", "right"]
    assert [h.id for h in hips.values()] == [
        "p-left",
        "p-right",
    ]
    assert hips["right"].image.max() == 700
    assert hips["left"].image.max() == 0
    for hip in hips.values():
        assert hip.image.shape == (20, 20, 10)
        assert hip.spacing == case.spacing
        low = np.linalg.solve(AFFINE, hip.affine[:, 3])[:3].astype(int)
        box = tuple(slice(a, a + n) for a, n in zip(low, hip.image.shape, strict=True))
        assert np.array_equal(hip.label, case.label[box])
        assert np.array_equal(hip.affine[:3, 3], AFFINE[:3, :3] @ low + AFFINE[:3, 3])
        heads = hip.affine @ np.append(np.argwhere(hip.label == 2).mean(axis=0), 1)
        assert abs(heads[0] - {"left": -16, "right": 94}[hip.meta["side"]]) < 6
    assert crop_hips(case, 1000)["left"].image.shape == case.image.shape


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (None, "no hip joint was found on the left"),
        (np.zeros((80, 40, 50), np.uint8), "no label with hip bone"),
        (
            np.where(np.arange(80)[:, None, None] > 50, pelvis().label, pelvis().label % 2),
            "no femur on the left",
        ),
    ],
)
def test_hips_that_cannot_be_found(label: np.ndarray | None, words: str) -> None:
    with pytest.raises(DataError, match=words):
        crop_hips(replace(pelvis(), label=label))


def test_real_example(shared: Path, tmp_path: Path) -> None:
    from ssltut.io.nifti import read_case

    folder = shared / EXAMPLE
    case, raw = (
        read_totalsegmentator_example(folder),
        read_case(folder / CT, folder / public.SEGMENTATION),
    )
    assert np.bincount(case.label.ravel()).tolist()[1:] == [13166 + 13048, 4488 + 4396]
    hips = crop_hips(case)
    for side, value in (("left", 75), ("right", 76)):  # femur_left, femur_right
        own = (raw.affine @ np.append(np.argwhere(raw.label == value).mean(axis=0), 1))[0]
        femur = np.argwhere(hips[side].label == 2)
        assert abs((hips[side].affine @ np.append(femur.mean(axis=0), 1))[0] - own) < 3
        assert max(hips[side].image.shape) * 3 <= 162
    assert hips["left"].image.max() > 3000 > hips["right"].image.max()  # the nail
    done = script("--mirror", shared, "--out", tmp_path)
    assert all(
        (tmp_path / name).read_bytes() == (folder / name).read_bytes()
        for name in (CT, public.SEGMENTATION)
    )
    assert done.returncode == 0
    assert "122 x 101 x 112 voxels of 3 mm" in done.stdout
    (tmp_path / "empty").mkdir()
    failed = script("--mirror", tmp_path / "empty", "--out", tmp_path / "new")
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert "mirror does not hold" in failed.stderr


def script(*args: object) -> subprocess.CompletedProcess[str]:
    file = Path(__file__).parents[2] / "data_scripts" / "totalsegmentator_example.py"
    return subprocess.run(
        [sys.executable, file, *args], capture_output=True, text=True, check=False
    )
