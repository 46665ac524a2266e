"""Folders as somebody would hand them in, commands on them, and what came out."""

import gzip
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import toy_cli
from toy_nifti import HU, LABEL, save

from ssltut.data.case import Case
from ssltut.intake import report
from ssltut.training import run


def command(*words: object) -> tuple[int, str, list[str]]:
    """Exit code, stdout and the lines of stderr of one command, progress lines left out."""
    code, out, err = toy_cli.ssltut(*words)
    return code, out, [line for line in err if not re.match(r"\d+/\d+ ", line)]


def predict_bone_above_zero(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Any run predicts class 1 above 0 HU; its files are in ``folder``."""
    (folder / "best.safetensors").touch()
    identity = {"method": "", "options": {}, "config": {}, "table": {}, "hash": "bone"}
    (folder / "run.json").write_text(json.dumps(identity))

    def predict(case: Case, *args: object, **options: object) -> np.ndarray:
        return (case.image > 0).astype(np.uint8)

    trained = SimpleNamespace(nets={}, predict=predict, folder=folder)
    monkeypatch.setattr(run, "load_run", lambda path, **options: trained)


def draw_no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports come with an empty file in the place of each picture."""
    picture = SimpleNamespace(save=lambda path: path.touch())
    monkeypatch.setattr(report, "planes", lambda *arrays, **options: picture)


def folder_of(path: Path, n: int = 4, labels: bool = True) -> Path:
    """images/ and labels/ with ``n`` different scans."""
    for i in range(n):
        for kind in ("images", "labels"):
            (path / kind).mkdir(parents=True, exist_ok=True)
        save(path / "images" / f"Müller {i}.nii.gz", HU + np.int16(i))
        if labels:
            save(path / "labels" / f"Müller {i}.nii.gz", LABEL)
    return path


def all_bytes(folder: Path) -> bytes:
    """All names and bytes below a folder, also those inside gzip and PNG streams."""
    data = b""
    for path in sorted(folder.rglob("*")):
        data += str(path.relative_to(folder)).encode()
        if path.is_file():
            raw = path.read_bytes()
            data += raw + (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else b"")
    return data


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder by their path in it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
