"""Archives of public data are unpacked whole, inside their folder, or not at all."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from toy_public import BYTES, packed, register_archive

from ssltut.errors import DataError
from ssltut.io import public
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


def test_a_file_in_the_place_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_archive(monkeypatch, "zip", packed("zip", {".": BYTES}))
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch_set(EXAMPLE, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["data.zip"]


def test_a_link_out_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "../../.."
        archive.addfile(info)
    register_archive(monkeypatch, "tar.gz", out.getvalue())
    with pytest.raises(DataError, match="LinkOutsideDestination"):
        fetch_set(EXAMPLE, tmp_path)


def zipped(change: Callable[[bytes], bytes] = bytes, name: str = "ct") -> bytes:
    return change(packed("zip", {name: BYTES}))


def patched(at: dict[int, int]) -> Callable[[bytes], bytes]:
    """A zip with two-byte numbers changed, by their place in the local and the central header."""

    def change(content: bytes) -> bytes:
        block = bytearray(content)
        for offset, value in at.items():
            for mark, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
                place = content.index(mark) + offset + shift
                block[place : place + 2] = value.to_bytes(2, "little")
        return bytes(block)

    return change


def tarred(names: list[str], size: int = 0, mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
    return out.getvalue()


def linked(kind: bytes) -> bytes:
    """A link to a member that the archive does not have."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("a")
        info.type, info.linkname = kind, "loop"
        archive.addfile(info)
    return out.getvalue()


BAD = {
    "a hard link to nothing": ("tar.gz", linked(tarfile.LNKTYPE), "KeyError: .*loop"),
    "encrypted": ("zip", zipped(patched({6: 1})), "RuntimeError: .*encrypted"),
    "unknown method": ("zip", zipped(patched({8: 99})), "NotImplementedError"),
    "no name": ("tar.gz", tarred([""]), "or one has no name"),
    "two of one name": ("tar.gz", tarred(["a", "a"]), "two members are called 'a'"),
    "a bomb": ("tar.gz", tarred(["a"], 30_000_000), "1 members of 30,000,000 bytes are too many"),
    "a bomb in zip": ("zip", zipped(name="b"), "1 members of .* are too many"),
    "many members": ("tar.gz", tarred([f"{i}" for i in range(30)]), "21 members of 0 bytes"),
    "damaged xz": ("tar.gz", tarred(["a"], 9999, "w:xz")[:-20] + bytes(20), "cannot be unpacked"),
    "changed xz": (
        "tar.gz",
        tarred(["a"], 9999, "w:xz")[:60] + b"\xff" * 40,
        "cannot be unpacked",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_an_archive_that_cannot_be_is_one_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kind, content, words = BAD[name]
    monkeypatch.setattr(public, "MAX_MEMBERS", 20)
    monkeypatch.setattr(public, "MIN_LIMIT", 9 if name == "a bomb in zip" else 1_000_000)
    monkeypatch.setattr(public, "MAX_RATIO", 0.1 if name == "a bomb in zip" else 50)
    register_archive(monkeypatch, kind, content)
    with pytest.raises(DataError, match=words) as caught:
        fetch_set(EXAMPLE, tmp_path)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == [f"data.{kind}"]


def test_an_archive_at_the_limits_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public, "MAX_MEMBERS", 20)
    monkeypatch.setattr(public, "MIN_LIMIT", 20 * 5000)
    register_archive(monkeypatch, "tar.gz", tarred([f"{i}" for i in range(20)], 5000))
    fetch_set(EXAMPLE, tmp_path)
    assert len(list((tmp_path / "data").iterdir())) == 20


def test_an_archive_without_room_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nearly_full(path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=4000)

    register_archive(monkeypatch, "tar.gz", tarred(["a"], 5000))
    monkeypatch.setattr(public.shutil, "disk_usage", nearly_full)
    with pytest.raises(DataError, match="its members need 5,000 bytes, and 4,000 are free"):
        fetch_set(EXAMPLE, tmp_path)


def test_recorded_checksums_of_another_kind_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_archive(monkeypatch, "zip", zipped())
    (tmp_path / "checksums.json").write_text('{"data.zip": 5}')
    with pytest.raises(DataError, match=r"checksums.json: data.zip is 5 Next: give text"):
        fetch_set(EXAMPLE, tmp_path)


def test_a_full_memory_is_no_damaged_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    register_archive(monkeypatch, "zip", packed("zip", {"ct": BYTES}))
    monkeypatch.setattr(public.zipfile, "ZipFile", full)
    with pytest.raises(MemoryError):
        fetch_set(EXAMPLE, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["data.zip"]
