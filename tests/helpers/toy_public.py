"""A public data set of one file, and what the network answers when its address is requested."""

import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace

import pytest
import requests

from ssltut.io import public
from ssltut.io.public import CT, EXAMPLE, SETS, PublicFile

BYTES = b"the scan of a patient"


def one_file(**changes: object) -> PublicFile:
    sha = f"sha256:{hashlib.sha256(BYTES).hexdigest()}"
    return replace(PublicFile(CT, "https://example.org/ct.nii.gz", sha, len(BYTES)), **changes)


def register(monkeypatch: pytest.MonkeyPatch, *files: PublicFile, **about: object) -> None:
    """A registry whose only set holds ``files``, no mirror, and downloads that are not repeated."""
    monkeypatch.setattr(public, "SETS", {EXAMPLE: replace(SETS[EXAMPLE], files=files, **about)})
    monkeypatch.setattr(public, "RETRIES", 0)
    monkeypatch.delenv("SSLTUT_MIRROR", raising=False)


class Answer(io.BytesIO):
    """What requests.get gives for a file that is there."""

    status_code = 200

    def raise_for_status(self) -> None:
        pass

    def iter_content(self, size: int) -> list[bytes]:
        return [self.read(size)]


def serve(monkeypatch: pytest.MonkeyPatch, answer: bytes | Exception) -> list[str]:
    """Let the network give ``answer``; the list fills with the addresses requested."""
    addresses: list[str] = []

    def get(url: str, **options: object) -> Answer:
        addresses.append(url)
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer)

    monkeypatch.setattr(requests, "get", get)
    return addresses


def packed(kind: str, members: dict[str, bytes]) -> bytes:
    """An archive, ``kind`` zip or tar.gz."""
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


def register_archive(monkeypatch: pytest.MonkeyPatch, kind: str, data: bytes) -> None:
    """A registry whose only set is an archive, whose checksum is right, and the network for it."""
    checksum = f"md5:{hashlib.md5(data).hexdigest()}"
    file = PublicFile(f"data.{kind}", "https://example.org/d", checksum, len(data), archive=True)
    register(monkeypatch, file)
    serve(monkeypatch, data)
