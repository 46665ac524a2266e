"""NIfTI files and DICOM series with something changed in them."""

import gzip
import random
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import toy_dicom
from toy_nifti import AFFINE, HU, LABEL
from trials import Call

NUMBERS = [0, 1, -1, 2, 3, 7, 255, 32767, -32768, 2**31 - 1, 1e-6, 1e6, 1e30, 0.3]
NUMBERS += [float("nan"), float("inf"), -float("inf")]
KINDS = (nib.Nifti1Image, nib.Nifti1Image, nib.Nifti2Image)


def nifti(folder: Path, rng: random.Random) -> tuple[str, list[Call]]:
    """A cohort of one scan with a label, of which one file is changed; verify, read, ingest."""
    for part in ("images", "labels"):
        (folder / part).mkdir()
    ending = rng.choice([".nii", ".nii.gz"])
    of_label, kind = rng.random() < 0.3, rng.choice(KINDS)
    image, label = (folder / part / f"a{ending}" for part in ("images", "labels"))
    what = []
    for path, values in ((image, HU), (label, LABEL)):
        block = bytearray(kind(values, AFFINE).to_bytes())
        if (path == label) == of_label:
            changes = rng.choices(
                [voxels, field, field, field, damage], k=rng.choice([1, 1, 1, 2, 3])
            )
            for change in sorted(changes, key=ORDER.index):  # what is damaged has no fields
                what.append(change(block, kind, rng))
        path.write_bytes(_packed(bytes(block), path, rng, what))
    calls: list[Call] = [["verify", image], ["verify", folder], lambda: _read(image, label)]
    if rng.random() < 0.15:
        calls.append(["ingest", folder, "--out", folder.parent / "out", "--labels", "hip"])
    return f"{'label' if of_label else 'image'}{ending} {', '.join(what)}", calls


def _read(image: Path, label: Path) -> None:
    from ssltut.io.nifti import read_case

    read_case(image, label)


def _packed(block: bytes, path: Path, rng: random.Random, what: list[str]) -> bytes:
    if path.suffix != ".gz":
        return block
    data = bytearray(gzip.compress(block, mtime=0))
    if what and rng.random() < 0.1:
        what.append("gzip changed")
        for _ in range(rng.choice([1, 4])):
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def field(block: bytearray, kind: Any, rng: random.Random) -> str:
    """One number of the header becomes another."""
    header_class = kind.header_class
    size = header_class.template_dtype.itemsize
    header = header_class(bytes(block[:size]), check=False)
    name = rng.choice([name for name in header.template_dtype.names if name != "sizeof_hdr"])
    part, value = np.atleast_1d(header[name]), rng.choice(NUMBERS)
    if part.dtype.kind == "S":
        header[name] = bytes(rng.randrange(256) for _ in range(4))
    else:
        with np.errstate(all="ignore"):
            changed = np.array(header[name])
            changed[... if changed.ndim == 0 else rng.randrange(changed.size)] = np.float64(
                value
            ).astype(part.dtype)
        header[name] = changed
    block[:size] = header.binaryblock
    return f"{name}={value}"


def voxels(block: bytearray, kind: Any, rng: random.Random) -> str:
    """The grid or the values, as a file that is well formed may have them."""
    affine, values = AFFINE.copy(), rng.choice([HU, LABEL]).astype(rng.choice(["i2", "f4", "f8"]))
    change = rng.choice(["shear", "scale", "origin", "constant", "hole", "shape", "small", "huge"])
    if change == "shear":
        affine[rng.randrange(3), rng.randrange(3)] += rng.choice([0.01, 0.5, -2, 30])
    elif change == "scale":
        affine[:3, rng.randrange(3)] *= rng.choice([1e-6, 1e-3, 10, 1e3, 1e6, 1e12, 0])
    elif change == "origin":
        affine[rng.randrange(3), 3] = rng.choice([1e4, 1e9, 1e30, float("nan")])
    elif change == "constant":
        values[:] = rng.choice([0, 1, 3, 1e4])
    elif change == "hole":
        values = values.astype("f4")
        values.flat[rng.randrange(values.size)] = rng.choice([np.nan, np.inf, 0.5, 1e30, -7])
    elif change == "huge":
        values = values.astype("f8") * rng.choice([1e3, 1e10, 1e300])
    else:
        values = values[:1] if change == "small" else values[..., None].repeat(2, -1)
    with np.errstate(all="ignore"):
        try:
            block[:] = kind(values, affine).to_bytes()
        except (ValueError, nib.spatialimages.HeaderDataError):
            return f"{change} that nibabel does not write"
    return change


def damage(block: bytearray, kind: Any, rng: random.Random) -> str:
    """Bytes changed, cut off, added or taken out."""
    if not block:
        return "nothing left"
    change = rng.choice(["header bytes", "bytes", "cut", "added", "gone", "empty", "swapped"])
    if change in ("header bytes", "bytes"):
        for _ in range(rng.choice([1, 3, 20])):
            end = min(352, len(block)) if "header" in change else len(block)
            block[rng.randrange(end)] = rng.randrange(256)
    elif change == "cut":
        del block[rng.randrange(len(block)) :]
    elif change == "added":
        block += bytes(rng.choice([1, 100, 5000]))
    elif change == "gone":
        at = rng.randrange(len(block))
        del block[at : at + rng.choice([1, 4, 100])]
    elif change == "empty":
        del block[rng.choice([0, 4, 348]) :]
    elif len(block) >= 348:
        block[:348] = block[:348][::-1]
    return change


ORDER = [voxels, field, damage]
TAGS = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"]
TAGS += ["RescaleIntercept", "RescaleType", "Rows", "Columns", "BitsAllocated", "BitsStored"]
TAGS += ["HighBit", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation"]
TAGS += ["NumberOfFrames", "PixelPaddingValue", "ImageType", "Modality", "InstanceNumber"]
TAGS += ["SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "AcquisitionNumber"]
TAGS += ["PatientID", "PatientName", "BurnedInAnnotation", "SliceThickness", "PatientPosition"]
TEXTS: list[Any] = ["", "0", "YES", "1,5", "nan", "inf\\inf", "1\\2", "1\\2\\3\\4\\5\\6\\7", "-1"]
TEXTS += ["1e30", "1e-9", "x" * 300, "\x1b[2J", "a\\b\\c", "0\\0", "0\\0\\0\\0\\0\\0", None]
TEXTS += ["<img src=x onerror=alert(1)>", "Müller\\\n", "9" * 40]


def dicom(folder: Path, rng: random.Random) -> tuple[str, list[Call]]:
    """A sound series beside one with something changed; the sound one must become a case."""
    toy_dicom.write_series(folder / "good", series="1.2.9", PatientID="good")
    tag, text = rng.choice(TAGS), rng.choice(TEXTS)
    some = rng.choice([range(8), range(8), [0], [3], [7], [2, 5]])
    change = rng.choice(["tag", "tag", "tag", "tag", "bytes", "cut", "twice", "pixels", "empty"])

    def changed(k: int, data: pydicom.Dataset) -> None:
        if k in some and change == "tag":
            _set(data, tag, text)
            data["PixelData"].VR = "OW"  # whatever the other tags say
        if k in some and change == "pixels":
            data.PixelData = data.PixelData[: rng.randrange(len(data.PixelData))]

    try:
        toy_dicom.write_series(folder / "bad", toy_dicom.HU + np.int16(1), change=changed)
    except Exception:  # pydicom does not write it: the slices before it stay
        change = f"{change} that pydicom does not write, and the slices from there on gone"
    files = sorted((folder / "bad").glob("*.dcm"))
    for k in some:
        if k >= len(files):
            break
        data = bytearray(files[k].read_bytes())
        if change == "bytes":
            for _ in range(rng.choice([1, 5, 40])):
                data[rng.randrange(len(data))] = rng.randrange(256)
        elif change in ("cut", "empty"):
            del data[rng.randrange(len(data)) if change == "cut" else 0 :]
        files[k].write_bytes(data)
    if change == "twice":
        shutil.copy(files[0], folder / "bad" / "again.dcm")
    out = folder.parent / "out"

    def the_good_one_is_in() -> None:
        if "good" not in (folder.parent / "key.csv").read_text():
            raise AssertionError("the sound series beside it was left out")

    ingest: Call = ["ingest", folder, "--out", out, "--key", folder.parent / "key.csv"]
    what = f"{tag}={text!r}" if change == "tag" else change
    return f"{what} in {list(some)}", [["verify", folder], ingest, the_good_one_is_in]


def _set(data: pydicom.Dataset, tag: str, text: str | None) -> None:
    """The text as a stranger's scanner may have written it, whatever the standard says."""
    if tag in data:
        del data[tag]
    if text is None:
        return
    number = pydicom.datadict.tag_for_keyword(tag)
    kind = pydicom.datadict.dictionary_VR(number).split()[0]
    if kind in ("US", "SS"):
        digits = text.strip("-").split("\\")[0]
        value = int(digits) % 65536 if digits.isdigit() else 0
        data.add_new(number, "US", value)
        return
    raw = text.encode("latin-1", "replace")
    raw += b" " * (len(raw) % 2)
    element = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(number), kind, len(raw), raw, 0, False, True
    )
    data[number] = element
