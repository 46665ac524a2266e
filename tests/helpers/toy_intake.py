"""Folders as somebody would hand them in, and what came out of them."""

import gzip
from pathlib import Path

import numpy as np
from toy_nifti import HU, LABEL, save


def folder_of(path: Path, n: int = 4, labels: bool = True) -> Path:
    """images/ and labels/ with ``n`` different scans."""
    for i in range(n):
        for kind in ("images", "labels"):
            (path / kind).mkdir(parents=True, exist_ok=True)
        save(path / "images" / f"Müller {i}.nii.gz", HU + np.int16(i))
        if labels:
            save(path / "labels" / f"Müller {i}.nii.gz", LABEL)
    return path


def everything(folder: Path) -> bytes:
    """All names and bytes below a folder, also those inside gzip and PNG streams."""
    data = b""
    for path in sorted(folder.rglob("*")):
        data += str(path.relative_to(folder)).encode()
        if path.is_file():
            raw = path.read_bytes()
            data += raw + (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else b"")
    return data
