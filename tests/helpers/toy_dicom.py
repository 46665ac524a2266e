"""Small DICOM series for the tests: sound ones, and every flawed one."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

HU = (
    np.random.default_rng(0).integers(-1000, 2000, (6, 5, 8)).astype(np.int16)
)  # (column, row, slice)
PERSON = {
    "PatientName": "Muster^Erika",
    "PatientID": "GEHEIM-4711",
    "PatientBirthDate": "19401231",
    "StudyDate": "20240229",
    "InstitutionName": "Klinikum Nirgendwo",
    "ReferringPhysicianName": "Doktor^Niemand",
    "AccessionNumber": "ACC99887",
    "StudyID": "ST5566",
    "StudyDescription": "CT Huefte Muster Erika",
    "PatientAddress": "Hauptstrasse 12",
    "OtherPatientIDs": "VERS-0815",
}
SPACING = (0.75, 0.5, 2.0)  # across columns, down rows, between slices


def one_slice(k: int, stored: np.ndarray, series: str, **tags: object) -> pydicom.Dataset:
    """Slice ``k`` of a series, ``stored`` (rows, columns) int16.

    ``tags`` are set last; None deletes one.
    """
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Modality, data.SeriesInstanceUID, data.StudyInstanceUID = "CT", series, "1.2.3"
    data.ImageType, data.InstanceNumber = (
        ["ORIGINAL", "PRIMARY", "AXIAL"],
        99 - k,
    )  # numbers run against the positions
    data.ImageOrientationPatient, data.ImagePositionPatient = (
        [1, 0, 0, 0, 1, 0],
        [-20, -30, 100 + SPACING[2] * k],
    )
    data.PixelSpacing = [SPACING[1], SPACING[0]]
    data.Rows, data.Columns = stored.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    data.RescaleSlope, data.RescaleIntercept = 1, -24
    with pydicom.config.disable_value_validation():
        for name, value in (PERSON | tags).items():
            if name in data:
                del data[name]
            if value is not None:
                setattr(data, name, value)
    data.PixelData = stored.astype("<i2").tobytes()
    return data


def write_series(
    folder: Path,
    hu: np.ndarray = HU,
    *,
    skip: tuple[int, ...] = (),
    series: str = "1.2.3.4",
    name: str = "Muster_{:02d}.dcm",
    change=lambda k, data: None,
    **tags: object,
) -> Path:
    """``hu`` (columns, rows, slices) as one file per slice.

    ``change`` may alter a slice before it is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(hu.shape[2]):
        if k not in skip:
            data = one_slice(k, hu[..., k].T + 24, series, **tags)
            change(k, data)
            data.save_as(
                folder / name.format((k * 5) % 8), enforce_file_format=True
            )  # names in another order than the slices
    return folder


def compress(data: pydicom.Dataset) -> None:
    data.compress(RLELossless)


def claim_jpeg(data: pydicom.Dataset) -> None:
    """Says JPEG lossless, which nothing that comes with the package decodes."""
    data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xc3" + bytes(60)])


def shift(mm_a_slice: float):
    def change(k: int, data: pydicom.Dataset) -> None:
        data.ImagePositionPatient = [-20, -30 + mm_a_slice * k, 100 + SPACING[2] * k]

    return change


def moved(k_moved: int, z: float):
    def change(k: int, data: pydicom.Dataset) -> None:
        if k == k_moved:
            data.ImagePositionPatient = [-20, -30, z]

    return change


BAD_SERIES = {  # how to write it in a folder, and the words that must name the flaw
    "missing slices": (
        lambda d: write_series(d, skip=(3, 4)),
        r"about 2 slices are missing: slices are 2 mm apart, but 6 mm between Muster_02.*Muster_01",
    ),
    "uneven slices": (
        lambda d: write_series(d, change=moved(7, 114.6)),
        "unevenly spaced, 2 to 2.6 mm",
    ),
    "gantry tilt": (lambda d: write_series(d, change=shift(0.5)), r"tilted by 14 degrees.*3\.5 mm"),
    "other pixels at one place": (
        lambda d: write_series(write_series(d), HU[..., ::-1], name="second_{}.dcm"),
        "lie where another one lies",
    ),
    "single slice": (lambda d: write_series(d, HU[..., :1]), "single slice"),
    "cut off": (
        lambda d: truncate(write_series(d) / "Muster_05.dcm"),
        r"Muster_05\.dcm: the pixels cannot be read",
    ),
    "jpeg lossless": (
        lambda d: write_series(d, change=lambda k, data: claim_jpeg(data)),
        "compressed as JPEG Lossless.*pylibjpeg",
    ),
    "no rescale": (lambda d: write_series(d, RescaleIntercept=None), "not HU"),
    "slope NaN": (
        lambda d: write_series(d, RescaleSlope="nan"),
        r"RescaleSlope is 'nan', expected 1 number from .* \(in 8 files, this is",
    ),
    "slope 0": (lambda d: write_series(d, RescaleSlope=0), "RescaleSlope is 0"),
    "other units": (lambda d: write_series(d, RescaleType="US"), "not HU.*US"),
    "skewed axes": (
        lambda d: write_series(d, ImageOrientationPatient=[1, 0, 0, 0.3, 1, 0]),
        "not at right angles",
    ),
    "pixels of no size": (
        lambda d: write_series(d, PixelSpacing=[0, 1]),
        r"PixelSpacing is '0.0\\1.0', expected 2 numbers from 0.01 to 50 \(in 8",
    ),
}


def raw(**texts: str):
    """Writes ``texts`` as they are into slice 7, the last one, which no gap betrays."""

    def change(k: int, data: pydicom.Dataset) -> None:
        for name, text in texts.items():
            value = (text + " " * (len(text) % 2)).encode()
            vr = pydicom.datadict.dictionary_VR(name).removesuffix(" or SS")
            element = (pydicom.tag.Tag(name), vr, len(value), value, 0, False, True)
            if k == 7:
                data[name] = pydicom.dataelem.RawDataElement(*element)

    return change


# A tag of one slice that cannot be: its name and text, and how the message goes on.
BAD_TAGS = {
    "text as position": ("ImagePositionPatient", "YES", "'YES', expected 3 numbers from"),
    "one number as position": ("ImagePositionPatient", "0", "'0', expected 3 numbers"),
    "a position that is not finite": ("ImagePositionPatient", r"0\0\nan", r"'0\\0\\nan', expec"),
    "a position far away": ("ImagePositionPatient", r"0\0\1e30", ".* to 10000"),
    "text as orientation": ("ImageOrientationPatient", "axial", "'axial', expected 6 numbers"),
    "two numbers as orientation": ("ImageOrientationPatient", r"1\0", ".*expected 6 numbers"),
    "huge directions": ("ImageOrientationPatient", r"9\0\0\0\1\0", ".* to 1.001"),
    "infinite pixels": ("PixelSpacing", r"inf\inf", r"'inf\\inf', expected 2 numbers"),
    "pixels of a kilometre": ("PixelSpacing", r"1e6\1e6", ".* to 50"),
    "three pixel sizes": ("PixelSpacing", r"1\1\1", ".*expected 2 numbers"),
    "text as intercept": ("RescaleIntercept", "none", "'none', expected 1 number"),
    "six intercepts": ("RescaleIntercept", r"1\2\3\4\5\6", ".*expected 1 number"),
    "text as frames": ("NumberOfFrames", "one", "'one', expected 1 whole number"),
    "half a frame": ("NumberOfFrames", "1.5", ".*expected 1 whole number"),
    "padding of three bytes": ("PixelPaddingValue", "abc", ".*expected 1 whole number"),
    "control characters": ("RescaleSlope", "\x1b[2J", r"'\\x1b\[2J', expected"),
}


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-40])
    return path.parent


LEFT_OUT = {  # what is no slice of a scan, and why
    "scout": ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "scout"),
    "report": ({"Modality": "SR"}, "modality is SR, not CT"),
    "no modality": ({"Modality": None}, "modality is missing"),
    "colour": ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour image"),
    "multi-frame": ({"NumberOfFrames": 4}, "multi-frame file of 4.*dcm2niix"),
    "burned-in text": ({"BurnedInAnnotation": "YES"}, "burned into its pixels"),
    "no position": ({"ImagePositionPatient": None}, "no ImagePositionPatient"),
    "empty orientation": ({"ImageOrientationPatient": ""}, "no ImageOrientationPatient"),
}
