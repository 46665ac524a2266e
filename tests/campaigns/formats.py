"""Scans and labels of other formats than NIfTI and DICOM slices, with something changed in them."""

import random
from pathlib import Path

import nibabel as nib
import numpy as np
from toy_dicom import HU as SLICES
from toy_dicom import write_series
from toy_formats import (
    enhanced,
    save_contours,
    save_meta,
    save_nrrd,
    save_seg,
    save_seg_nrrd,
)
from toy_nifti import AFFINE, HU, LABEL, save
from trials import Call

TEXTS = [b"nan ", b"-1  ", b"1e99", b"9999", b"\0\0\0\0", b"    ", b"../x"]


def other_format(folder: Path, rng: random.Random) -> tuple[str, list[Call]]:
    """One file is changed beside sound ones; verify and ingest with labels."""
    make = rng.choice([_nrrd, _meta, _zipped, _pair, _segments, _enhanced, _seg, _contours])
    path = make(folder)
    data = bytearray(path.read_bytes())
    change = rng.choice(["byte", "bit", "text", "cut", "twice"])
    head = min(len(data), 2500)  # where headers are
    at = rng.randrange(head)
    if change == "byte":
        for _ in range(rng.choice([1, 1, 3, 10])):
            data[rng.randrange(head)] = rng.randrange(256)
    elif change == "bit":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif change == "text":
        data[at : at + 4] = rng.choice(TEXTS)
    elif change == "cut":
        del data[rng.randrange(len(data)) :]
    else:
        data[at:at] = data[at : at + rng.randrange(30)]
    path.write_bytes(bytes(data))
    out = folder.parent / "out"
    return f"{path.name}: {change} at {at}", [
        ["verify", folder],
        ["ingest", folder, "--labels", "hip", "--out", out],
    ]


def _nrrd(folder: Path) -> Path:
    return save_nrrd(folder / "a.nrrd", HU, AFFINE)


def _meta(folder: Path) -> Path:
    return save_meta(folder / "a.mhd", HU, AFFINE)


def _zipped(folder: Path) -> Path:
    return save_meta(folder / "a.mha", HU, AFFINE, CompressedData=True)


def _pair(folder: Path) -> Path:
    nib.save(nib.Nifti1Pair(HU, AFFINE), folder / "a.hdr")
    return folder / "a.hdr"


def _segments(folder: Path) -> Path:
    save(folder / "a.nii", HU)
    names = {"hip bone": (0, 1), "femur": (0, 2)}
    return save_seg_nrrd(folder / "a.seg.nrrd", LABEL, AFFINE, names)


def _enhanced(folder: Path) -> Path:
    return enhanced(folder / "a.dcm")


def _seg(folder: Path) -> Path:
    mask = np.indices(SLICES.shape)[0] < 3
    write_series(folder)
    return save_seg(folder / "seg.dcm", folder, {"hip bone": mask, "femur": ~mask})


def _contours(folder: Path) -> Path:
    write_series(folder)
    box = np.array([(-19.6, -29.6, 104), (-18, -29.6, 104), (-18, -28, 104)])
    return save_contours(folder / "rt.dcm", {"hip bone": [box], "femur": [box]}, "1.2.3.4")
