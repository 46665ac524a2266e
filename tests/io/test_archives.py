"""Archives of public data are unpacked whole, inside their folder, or not at all."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from toy_public import BYTES, packed, register_archive

from ssltut.errors import DataError
from ssltut.io.public import EXAMPLE, fetch_set


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_are_unpacked_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    register_archive(monkeypatch, kind, packed(kind, {"s1/ct.nii.gz": BYTES, "meta.csv": b"a,b"}))
    for _ in range(2):
        fetch_set(EXAMPLE, tmp_path)
        assert (tmp_path / "data" / "s1" / "ct.nii.gz").read_bytes() == BYTES
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", f"data.{kind}"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", ["../evil", "/tmp/ssltut-evil", "a/../../evil"])
def test_archives_do_not_leave_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    register_archive(monkeypatch, kind, packed(kind, {"good": BYTES, name: BYTES}))
    with pytest.raises(DataError, match="1 members would land outside the folder"):
        fetch_set(EXAMPLE, tmp_path / "in")
    assert not list(tmp_path.rglob("*evil"))
    assert not (tmp_path / "in" / "data").exists()
    assert not Path("/tmp/ssltut-evil").exists()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_links_and_damage_in_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    register_archive(
        monkeypatch, kind, packed(kind, {"ct": np.random.default_rng(0).bytes(9999)})[:-40]
    )
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch_set(EXAMPLE, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [f"data.{kind}"]


def test_a_link_out_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "../../.."
        archive.addfile(info)
    register_archive(monkeypatch, "tar.gz", out.getvalue())
    with pytest.raises(DataError, match="LinkOutsideDestination"):
        fetch_set(EXAMPLE, tmp_path)
