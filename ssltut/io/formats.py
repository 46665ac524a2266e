"""Scans and labels in files with voxels: NIfTI, and with the same checks NRRD and MetaImage.

NRRD is read with pynrrd, of the extra ``formats``. MetaImage is a page of text before the numbers,
and is read here: its reader in SimpleITK would bring 264 MB.
"""

import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ssltut.errors import DataError
from ssltut.files import check_regular
from ssltut.io._nifti_header import MAX_GZIP_RATIO, Spacing, finished, read_nifti
from ssltut.io.volume import AGAIN, MAX_VOXELS, Note, Volume, collecting

INSTALL = "pip install pynrrd highdicom"
SPACES = {"LPS": (-1, -1, 1), "RAS": (1, 1, 1), "LAS": (-1, 1, 1)}  # signs that turn them to RAS
META_TYPES = {"CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4"}
META_TYPES |= {"UINT": "u4", "FLOAT": "f4", "DOUBLE": "f8", "LONG_LONG": "i8", "ULONG_LONG": "u8"}
MAX_LABEL_VALUES = {"CT": 256}  # a CT has air below 0, so these whole numbers from 0 are no HU
FEW_VALUES = 32  # in other modalities, whose values are often whole


def read_volume(
    path: Path, note: Note, *, assume_spacing: Spacing | None = None, fill: float | None = None
) -> Volume | None:
    """The volume in ``path``, or None; what is wrong goes to ``note``.

    ``assume_spacing`` (mm) stands in for a missing affine of NIfTI, ``fill`` for voxels that are
    NaN or infinite. Raises ConfigError for an ``assume_spacing`` that is no voxel size.
    """
    name = path.name.lower()
    if name.endswith((".nrrd", ".nhdr")):
        read = read_nrrd
    elif name.endswith((".mha", ".mhd")):
        read = _read_meta
    else:
        return read_nifti(path, note, assume_spacing=assume_spacing, fill=fill)
    with collecting(note, path):
        check_regular(path)
        values, affine, _ = read(path)
        if values.ndim != 3 or min(values.shape) < 2:
            what = f"the file holds an image of {' x '.join(map(str, values.shape))} voxels"
            raise DataError(what, fix="give a 3D volume with one number a voxel")
        return finished(values, affine, path, note, fill)
    return None


def read_scan(path: Path, note: Note, modality: str = "CT", **options: Any) -> Volume | None:
    """The volume of a scan, as ``read_volume``; None and an error for what looks like a label."""
    volume = read_volume(path, note, **options)
    with collecting(note, path):
        if volume is not None:
            check_is_scan(volume, modality)
        return volume
    return None


def check_is_scan(volume: Volume, modality: str) -> None:
    """Raise DataError for few whole numbers from 0 on, which are a label's or a mask's."""
    values = volume.values
    if values.dtype.kind not in "iu" or values.min() != 0:
        return
    n = np.count_nonzero(np.bincount(values.ravel()))
    if n <= MAX_LABEL_VALUES.get(modality, FEW_VALUES):
        what = f"this looks like a label and not like a scan: it holds {n} whole numbers from 0"
        fix = "give it the name of its scan and _seg, or take it out of the folder"
        raise DataError(f"{what} to {values.max()}", fix=fix)


def read_nrrd(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """The numbers of an NRRD file, its affine to mm in RAS, and its header.

    Axes that are none of space come first. Raises DataError.
    """
    try:
        import nrrd
    except ModuleNotFoundError:
        raise DataError("pynrrd, which reads NRRD, is not installed", fix=INSTALL) from None
    try:
        with open(path, "rb") as file:
            header = nrrd.read_header(file)
        shape, coding = header["sizes"].tolist(), header.get("encoding", "raw")
        source = _beside(path, header.get("data file", header.get("datafile")))
        _check_size(source, shape, (1, 8), zipped=coding not in ("raw", "ascii", "text", "txt"))
        values, _ = nrrd.read(str(path))
    except DataError:
        raise
    except Exception as error:  # pynrrd raises errors of many kinds
        what = f"this cannot be read as NRRD ({type(error).__name__}: {error})"
        raise DataError(what, fix=AGAIN) from None
    space = str(header.get("space", "none"))
    short = "".join(word[0] for word in space.split("-")).upper() if "-" in space else space
    directions = np.atleast_2d(np.array(header.get("space directions", np.nan), float))
    is_spatial = np.isfinite(directions).all(axis=1)
    origin = np.ravel(header.get("space origin", ()))
    units = set(header.get("space units", ["mm"]))
    if short not in SPACES or is_spatial.sum() != 3 or origin.size != 3 or units - {"mm"}:
        what = f"the header does not say in mm how the scan lies (space {space}, units {units})"
        raise DataError(what, fix="save it again, for example with 3D Slicer")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions[is_spatial].T, origin
    order = [*np.flatnonzero(~is_spatial), *np.flatnonzero(is_spatial)]
    return values.transpose(order), np.diag([*SPACES[short], 1.0]) @ affine, header


def _read_meta(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """The numbers of a MetaImage, its affine to mm in RAS, and its header. Raises DataError."""
    try:
        with open(path, "rb") as file:
            block = file.read(2**16)
        end = re.search(rb"^ElementDataFile[ \t]*=[^\n]*\n?", block, re.MULTILINE)
        text = block[: end.end() if end else 0].decode("ascii", "replace")
        pairs = (line.partition("=") for line in text.splitlines())
        header = {name.strip().lower(): value.strip() for name, _, value in pairs}
        shape = [int(n) for n in header["dimsize"].split()]
        n_numbers = int(header.get("elementnumberofchannels", 1))
        orders = (header.get(f"{kind}byteordermsb", "") for kind in ("binarydata", "element"))
        big = "true" in map(str.lower, orders)
        dtype = np.dtype((">" if big else "<") + META_TYPES[header["elementtype"].upper()[4:]])
        turn = header.get("transformmatrix") or header.get("orientation") or header["rotation"]
        corner = header.get("offset") or header.get("position") or header["origin"]
        affine = np.eye(4)
        spacing = np.array(header["elementspacing"].split(), float)
        affine[:3, :3] = np.array(turn.split(), float).reshape(3, 3).T * spacing
        affine[:3, 3] = np.array(corner.split(), float)
        local = header["elementdatafile"].upper() == "LOCAL"
        zipped = header.get("compresseddata", "false").lower() == "true"
        skip = len(text) if local else int(header.get("headersize", 0))
    except (KeyError, ValueError) as error:
        what = f"the header is no MetaImage's that lies in space ({type(error).__name__}: {error})"
        raise DataError(what, fix="save it again, for example with 3D Slicer") from None
    if n_numbers != 1 or len(shape) != 3:
        what = f"the file holds {n_numbers} numbers a voxel, {len(shape)} axes"
        raise DataError(what, fix="give a 3D volume with one number a voxel")
    source = _beside(path, None if local else header["elementdatafile"])
    need = _check_size(source, shape, (dtype.itemsize, dtype.itemsize), zipped=zipped)
    with open(source, "rb") as file:
        file.seek(max(skip, 0))
        data = file.read()
    try:
        data = zlib.decompressobj().decompress(data, need) if zipped else data[:need]
    except zlib.error as error:
        raise DataError(f"the voxels are damaged ({error})", fix=AGAIN) from None
    if len(data) != need:
        raise DataError(f"the file is cut off: {need} bytes expected, got {len(data)}", fix=AGAIN)
    values = np.frombuffer(data, dtype).reshape(shape, order="F")
    return values.astype(dtype.newbyteorder("=")), np.diag([*SPACES["LPS"], 1.0]) @ affine, header


def _beside(path: Path, name: Any) -> Path:
    """The file with the voxels: ``path``, or the one that its header names beside it."""
    if name is None:
        return path
    plain = isinstance(name, str) and name.isprintable() and Path(name).name == name != ""
    if not plain or "%" in name or name == "LIST":
        what = f"its voxels are said to lie in {str(name)[:60]}, not in one file beside it"
        raise DataError(what, fix="save it again as one file")
    check_regular(path.with_name(name))
    return path.with_name(name)


def _check_size(path: Path, shape: list[int], sizes: tuple[int, int], *, zipped: bool) -> int:
    """The bytes of voxels of the least of ``sizes``. DataError where the file cannot hold them."""
    n_voxels, size = math.prod(shape), path.stat().st_size
    low, high = (n_voxels * of_one for of_one in sizes)
    what = f"the header asks for {' x '.join(map(str, shape))} voxels"
    if min(shape, default=0) < 1 or n_voxels > MAX_VOXELS:
        fix = "check the header, or crop or resample the scan"
        raise DataError(f"{what}; the limit is {MAX_VOXELS:.3g}", fix=fix)
    if low > size * (MAX_GZIP_RATIO if zipped else 1) or (zipped and size > 1.1 * high + 2**16):
        raise DataError(f"{what} of {low} bytes; the file has {size}", fix=AGAIN)
    return low
