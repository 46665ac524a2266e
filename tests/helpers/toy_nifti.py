"""Small NIfTI files for the tests, sound ones and every flawed one.

A flawed one is how to make it in a folder, and the words that must name the flaw.
"""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

HU = np.random.default_rng(0).integers(-1000, 2000, (5, 6, 7)).astype(np.int16)
LABEL = (np.arange(HU.size).reshape(HU.shape) % 3).astype(np.uint8)
AFFINE = np.array([[2, 0, 0, -30], [0, 1.5, 0, 10], [0, 0, 3, 5], [0, 0, 0, 1.0]])


def save(
    path: Path,
    values: np.ndarray = HU,
    affine: np.ndarray = AFFINE,
    qform: np.ndarray | None = None,
    **fields: object,
) -> Path:
    """A NIfTI file with header ``fields`` written over those of nibabel, sensible or not."""
    image = nib.Nifti1Image(values, affine)
    if qform is not None:
        image.set_qform(qform, 1)
    block = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(block[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    block[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(block)) if path.suffix == ".gz" else bytes(block))
    return path


def cut(path: Path, keep: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    return path


def flipped(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # in the checksum at the end of a gzip stream
    path.write_bytes(bytes(data))
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def holed(values: np.ndarray, number: float = np.nan) -> np.ndarray:
    values = values.astype(np.float32)
    values[1, 2, 3] = values[4, 5, 6] = number
    return values


ROTATED = nib.affines.from_matvec(
    AFFINE[:3, :3] @ np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]), AFFINE[:3, 3]
)
NAN = np.where(np.eye(4, dtype=bool), np.nan, AFFINE)
BAD_FILES = {
    "missing": (lambda d: d / "none.nii", "no such file"),
    "folder": (lambda d: d, "folder"),
    "empty": (lambda d: written(d / "e.nii.gz", b""), "0 bytes"),
    "garbage": (
        lambda d: written(d / "g.nii.gz", b"not a scan" * 99),
        "not a NIfTI.*990 bytes.*begins with 6e 6f",
    ),
    "gzip of garbage": (
        lambda d: written(d / "g.nii.gz", gzip.compress(b"not a scan" * 99)),
        "not a NIfTI",
    ),
    "short header": (lambda d: cut(save(d / "s.nii"), 0.3), "not a NIfTI"),
    "gzip cut in its header": (lambda d: cut(save(d / "s.nii.gz"), 0.1), "header cannot be read"),
    "pair": (lambda d: save(d / "s.nii", magic=b"ni1"), "pair"),
    "truncated nii": (lambda d: cut(save(d / "s.nii"), 0.8), "expected 772 bytes, got 617"),
    "truncated gz": (
        lambda d: cut(save(d / "s.nii.gz"), 0.8),
        r"int16, 420 bytes\) are cut off or damaged: Compressed file ended",
    ),
    "gz shorter than its header says": (
        lambda d: save(d / "s.nii.gz", dim=[3, 5, 6, 9, 1, 1, 1, 1]),
        "Expected 540 bytes, got 420",
    ),
    "wrong checksum": (lambda d: flipped(save(d / "s.nii.gz")), "CRC check failed"),
    "bomb": (
        lambda d: save(d / "s.nii.gz", dim=[3, 20_000, 20_000, 20_000, 1, 1, 1, 1]),
        "20000 x 20000 x 20000 voxels of int16.*8e",
    ),
    "lesser bomb": (
        lambda d: save(d / "s.nii.gz", dim=[3, 900, 1000, 1000, 1, 1, 1, 1]),
        r"expected 1800000352 bytes, got \d+ of gzip",
    ),
    "no dimensions": (lambda d: save(d / "s.nii", dim=[0] * 8), "dimensions make no sense"),
    "negative dimension": (
        lambda d: save(d / "s.nii", dim=[3, 5, -6, 7, 1, 1, 1, 1]),
        "dimensions make no sense",
    ),
    "2D": (lambda d: save(d / "s.nii", HU[..., 0]), "2D image"),
    "4D": (lambda d: save(d / "s.nii", np.stack([HU, HU], -1)), "2 volumes"),
    "complex": (lambda d: save(d / "s.nii", HU.astype(np.complex64)), "data type 32"),
    "unknown type": (lambda d: save(d / "s.nii", datatype=999), "data type 999"),
    "offset without end": (lambda d: save(d / "s.nii", vox_offset=np.inf), "voxels from byte inf"),
    "offset in the header": (lambda d: save(d / "s.nii", vox_offset=0), "voxels from byte 0"),
    "NaN affine": (lambda d: save(d / "s.nii", srow_x=[np.nan] * 4), "sform has 4 numbers"),
    "singular affine": (lambda d: save(d / "s.nii", srow_x=[0] * 4), "singular"),
    "qform without voxel size": (
        lambda d: save(d / "s.nii", qform=AFFINE, sform_code=0, pixdim=[1, 0, 1, 1, 0, 0, 0, 0]),
        "qform is singular",
    ),
    "qform with a negative voxel size": (
        lambda d: save(d / "s.nii", qform=AFFINE, sform_code=0, pixdim=[1, -2, 1, 1, 0, 0, 0, 0]),
        "qform has",
    ),
    "qform against sform": (
        lambda d: save(d / "s.nii", qform=AFFINE @ np.diag([0.5, 1, 1, 1])),
        "1 x 1.5 x 3 mm.*2 x 1.5 x 3 mm.*up to 1 mm",
    ),
    "qform turned": (lambda d: save(d / "s.nii", qform=ROTATED), "differ by"),
    "no affine": (lambda d: save(d / "s.nii", sform_code=0, qform_code=0), "assume_spacing"),
    "NaN voxels": (
        lambda d: save(d / "s.nii", holed(HU)),
        r"2 voxels are NaN or infinite, the first at \(1, 2, 3\)",
    ),
    "inf voxels": (lambda d: save(d / "s.nii", holed(HU, np.inf)), "2 voxels"),
    "beyond float32": (
        lambda d: save(d / "s.nii", holed(HU).astype(float).clip(1e300, 1e300)),
        "voxels are NaN or infinite",
    ),
}


def shifted(voxels: float) -> np.ndarray:
    """AFFINE moved along the second axis."""
    return AFFINE + 1.5 * voxels * np.outer([0, 1, 0, 0], [0, 0, 0, 1])


BAD_LABELS = {
    "other shape": ({"values": LABEL[:4]}, r"shape \(4, 6, 7\), the image \(5, 6, 7\)"),
    "shifted": ({"affine": shifted(0.11)}, r"0\.165 mm \(0\.11 voxels\)"),
    "outside the table": (
        {"values": LABEL * 5},
        r"2 label values are not in the table: 5 \(70 voxels\), 10 \(70 voxels\).*2 femur",
    ),
    "negative": ({"values": -LABEL.astype(np.int16)}, r"-2 \(70 voxels\)"),
    "not whole": (
        {"values": LABEL * np.float32(0.94)},
        r"140 label voxels are not whole numbers \(0\.94, 1\.88\)",
    ),
    "large": ({"values": LABEL.astype(np.int32) * 1_234_567}, r"1234567 \(70 voxels\)"),
    "rescaled": ({"values": LABEL, "scl_slope": 1.01}, "not whole"),
}


def oriented(values: np.ndarray, codes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """``values`` on the RAS grid AFFINE, stored with other axes."""
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    return nib.apply_orientation(values, turn), AFFINE @ nib.orientations.inv_ornt_aff(
        turn, values.shape
    )
