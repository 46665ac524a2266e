"""Public scans: only the right bytes are kept, and every failure says what to do."""

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import requests
import totalsegmentator_example as script
from toy_public import BYTES, one_file, register, serve

from ssltut.cli.main import main
from ssltut.data.labels import LABEL_MAPS
from ssltut.errors import ConfigError, DataError
from ssltut.io import public
from ssltut.io.left_atrium import is_atrium, load_atrium
from ssltut.io.public import (
    CT,
    EXAMPLE,
    SEGMENTATION,
    SETS,
    fetch_set,
    find_totalsegmentator_example,
    read_totalsegmentator_example,
)

LONG = BYTES * 20_000


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, one_file())


@pytest.mark.parametrize("where", ["", EXAMPLE])
@pytest.mark.parametrize("by_environment", [True, False])
def test_mirror(
    registry: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    by_environment: bool,
) -> None:
    requests_made, mirror = serve(monkeypatch, BYTES), tmp_path / "mirror"
    (mirror / where).mkdir(parents=True)
    (mirror / where / CT).write_bytes(BYTES)
    if by_environment:
        monkeypatch.setenv("SSLTUT_MIRROR", str(mirror))
    folder = fetch_set(EXAMPLE, tmp_path / "out", None if by_environment else mirror)
    assert folder == tmp_path / "out"
    assert (folder / CT).read_bytes() == BYTES
    assert not requests_made


def test_downloaded_once_and_again_when_damaged(
    registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests_made = serve(monkeypatch, BYTES)
    assert fetch_set(EXAMPLE, tmp_path) == fetch_set(EXAMPLE, tmp_path)
    assert requests_made == ["https://example.org/ct.nii.gz"]
    (tmp_path / CT).write_bytes(b"damaged")
    assert (fetch_set(EXAMPLE, tmp_path) / CT).read_bytes() == BYTES
    assert len(requests_made) == 2
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            b"other bytes",
            rf"wrong checksum: .* expected sha256:{hashlib.sha256(BYTES).hexdigest()} but got"
            rf" {hashlib.sha256(b'other bytes').hexdigest()}",
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
        fetch_set(EXAMPLE, tmp_path)
    assert not list(tmp_path.iterdir())


class Server(BaseHTTPRequestHandler):
    """Gives LONG; honours ``ranges`` or not, and breaks off after ``stop`` bytes once."""

    ranges, stop, requests_made = True, 0, []

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if self.ranges else 0
        self.requests_made.append(self.headers.get("Range"))
        if start >= len(LONG):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(LONG) - start))
        self.end_headers()
        self.wfile.write(LONG[start : Server.stop or None])
        Server.stop = 0
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that breaks off once, after 300,000 bytes, and a registry whose file it has."""
    for name, value in (("ranges", True), ("stop", 300_000), ("requests_made", [])):
        monkeypatch.setattr(Server, name, value)
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as served:
        threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{served.server_port}/ct"
        checksum = f"sha256:{hashlib.sha256(LONG).hexdigest()}"
        register(monkeypatch, one_file(url=url, checksum=checksum, size=len(LONG)))
        yield
        served.shutdown()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(
    server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    monkeypatch.setattr(Server, "ranges", ranges)
    with pytest.raises(DataError, match=r"the download failed.*goes on where it stopped"):
        fetch_set(EXAMPLE, tmp_path)
    have = (tmp_path / f".{CT}.part").read_bytes()
    assert not (tmp_path / CT).exists()
    assert LONG.startswith(have)
    assert 0 < len(have) <= 300_000
    assert (fetch_set(EXAMPLE, tmp_path) / CT).read_bytes() == LONG
    assert [p.name for p in tmp_path.iterdir()] == [CT]
    assert Server.requests_made == [None, f"bytes={len(have)}-"]


def test_a_broken_download_is_tried_again_at_once(
    server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public, "RETRIES", 1)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    assert (fetch_set(EXAMPLE, tmp_path) / CT).read_bytes() == LONG
    assert len(Server.requests_made) == 2


def test_the_rest_of_another_version_is_thrown_away(
    server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "stop", 0)
    (tmp_path / f".{CT}.part").write_bytes(LONG + b"longer")
    with pytest.raises(DataError, match="HTTPError: 416"):
        fetch_set(EXAMPLE, tmp_path)
    assert (fetch_set(EXAMPLE, tmp_path) / CT).read_bytes() == LONG
    assert [p.name for p in tmp_path.iterdir()] == [CT]


def test_unknown_names_and_mirror_without_the_file(registry: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no data set 'x'.*{EXAMPLE}"):
        fetch_set("x", tmp_path)
    with pytest.raises(DataError, match=f"mirror does not hold {CT}"):
        fetch_set(EXAMPLE, tmp_path / "out", tmp_path)


def test_licences_that_ask_for_it_are_accepted_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, one_file(), terms="https://example.org/terms", licence="CC BY-NC 4.0")
    requests_made = serve(monkeypatch, BYTES)
    with pytest.raises(
        ConfigError,
        match=(
            r"accepted first: CC BY-NC 4\.0 Next: read https://example.org/terms, then add"
            r" --accept-licence"
        ),
    ):
        fetch_set(EXAMPLE, tmp_path / "out")
    assert not requests_made
    assert not (tmp_path / "out").exists()
    assert (fetch_set(EXAMPLE, tmp_path / "out", accept=True) / CT).read_bytes() == BYTES


def test_a_checksum_that_nobody_knows_is_recorded_at_the_first_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, one_file(checksum=None, size=None))
    requests_made = serve(monkeypatch, BYTES)
    fetch_set(EXAMPLE, tmp_path), fetch_set(EXAMPLE, tmp_path)
    assert json.loads((tmp_path / "checksums.json").read_text()) == {CT: one_file().checksum}
    assert len(requests_made) == 1
    (tmp_path / CT).write_bytes(b"damaged")
    serve(monkeypatch, b"another file")
    with pytest.raises(DataError, match="wrong checksum: SHA256"):
        fetch_set(EXAMPLE, tmp_path)
    assert (tmp_path / CT).read_bytes() == b"damaged"


def test_a_full_disk_is_reported_before_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, one_file(size=10**17))
    requests_made = serve(monkeypatch, BYTES)
    with pytest.raises(DataError, match=r"100000000\.0 GB are needed"):
        fetch_set(EXAMPLE, tmp_path)
    assert not requests_made


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
        # A size is no check of its own: where it is known, so is the checksum.
        assert all(file.checksum or not file.size for file in about.files)
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
        DataError, match=r"the mirror does not hold 0RZDK210BSMWAA6467LU/mri_norm2\.h5"
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


def test_the_example_is_the_one_described(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared / EXAMPLE
    case = read_totalsegmentator_example(folder)
    assert np.bincount(case.label.ravel()).tolist()[1:] == [13166 + 13048, 4488 + 4396]
    assert script.main(["--mirror", str(shared), "--out", str(tmp_path)]) == 0
    for name in (CT, SEGMENTATION):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert "122 x 101 x 112 voxels of 3 mm" in capsys.readouterr().out


def test_the_script_names_what_the_mirror_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--mirror", str(tmp_path), "--out", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "mirror does not hold" in error
