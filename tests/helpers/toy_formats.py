"""Small files of other formats than NIfTI and DICOM slices, each as its programs write it."""

import zlib
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from toy_dicom import HU as SLICES
from toy_dicom import SPACING, one_slice

LPS = np.diag([-1.0, -1, 1, 1])  # from RAS
ENHANCED_CT, RTSTRUCT = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.481.3"


def save_nrrd(path: Path, values: np.ndarray, affine: np.ndarray, **fields: object) -> Path:
    """As 3D Slicer saves it: LPS, gzip. ``values`` (X, Y, Z), or (layers, X, Y, Z)."""
    import nrrd

    lps = LPS @ affine
    axes = [list(axis) for axis in lps[:3, :3].T]
    layers = [None] * (values.ndim - 3)
    header = {
        "space": "left-posterior-superior",
        "space directions": np.array([[np.nan] * 3] * len(layers) + axes),
        "space origin": lps[:3, 3],
        "kinds": ["list"] * len(layers) + ["domain"] * 3,
        "encoding": "gzip",
    }
    nrrd.write(str(path), values, header | fields)
    return path


def save_seg_nrrd(
    path: Path, layers: np.ndarray, affine: np.ndarray, segments: dict[str, tuple[int, int]]
) -> Path:
    """A segmentation of 3D Slicer; ``segments`` {name: (layer, number)}."""
    fields: dict[str, object] = {}
    for i, (name, (layer, value)) in enumerate(segments.items()):
        fields[f"Segment{i}_ID"] = f"Segment_{i + 1}"
        fields[f"Segment{i}_Name"] = name
        fields[f"Segment{i}_Layer"] = str(layer)
        fields[f"Segment{i}_LabelValue"] = str(value)
    return save_nrrd(path, layers, affine, **fields)


def save_meta(path: Path, values: np.ndarray, affine: np.ndarray, **fields: object) -> Path:
    """A MetaImage: .mha, or .mhd with its voxels beside it; ``fields`` replace or add lines."""
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    raw = values.tobytes(order="F")
    local = path.suffix == ".mha"
    types = {"int16": "SHORT", "uint8": "UCHAR", "float32": "FLOAT", "uint16": "USHORT"}
    lines = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": False,
        "TransformMatrix": _text((lps[:3, :3] / spacing).T),
        "Offset": _text(lps[:3, 3]),
        "ElementSpacing": _text(spacing),
        "DimSize": _text(values.shape),
        "ElementType": f"MET_{types[values.dtype.name]}",
    }
    lines |= fields
    if lines["CompressedData"]:
        raw = zlib.compress(raw)
    lines.setdefault("ElementDataFile", "LOCAL" if local else f"{path.stem}.raw")
    text = "".join(f"{name} = {value}\n" for name, value in lines.items() if value is not None)
    path.write_bytes(text.encode() + (raw if local else b""))
    if not local:
        path.with_suffix(".raw").write_bytes(raw)
    return path


def _text(numbers: object) -> str:
    return " ".join(f"{n:.10g}" for n in np.ravel(numbers))


def enhanced(path: Path, hu: np.ndarray = SLICES, order: list[int] | None = None) -> Path:
    """All slices of a series as the frames of one file."""
    plain = one_slice(0, hu[..., 0].T + 24, "1.2.3.4")
    data = Dataset()
    data.file_meta = plain.file_meta
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = ENHANCED_CT
    data.SOPInstanceUID = plain.SOPInstanceUID
    for tag in ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"):
        setattr(data, tag, getattr(plain, tag))
    for tag in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "HighBit"):
        setattr(data, tag, getattr(plain, tag))
    data.BitsAllocated = data.BitsStored = 16
    data.PixelRepresentation, data.ImageType = 1, ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    order = list(range(hu.shape[2])) if order is None else order
    data.NumberOfFrames = len(order)
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=[SPACING[1], SPACING[0]])]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    rescale = _item(RescaleSlope=1, RescaleIntercept=-24, RescaleType="HU")
    shared.PixelValueTransformationSequence = [rescale]
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in order:
        place = _item(ImagePositionPatient=[-20, -30, 100 + SPACING[2] * k])
        frames.append(_item(PlanePositionSequence=[place]))
    data.PerFrameFunctionalGroupsSequence = frames
    stored = [(hu[..., k].T + 24).astype("<i2").tobytes() for k in order]
    data.PixelData = b"".join(stored)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def _item(**tags: object) -> Dataset:
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return item


def save_seg(path: Path, series: Path, masks: dict[str, np.ndarray]) -> Path:
    """A DICOM SEG of a series; ``masks`` {name: (columns, rows, slices) bool}."""
    import highdicom as hd

    images = [pydicom.dcmread(file) for file in sorted(series.glob("Muster*.dcm"))]
    images.sort(key=lambda data: data.ImagePositionPatient[2])
    for image in images:
        image.FrameOfReferenceUID, image.SliceThickness = "1.2.3.9", SPACING[2]
        for tag in ("PatientSex", "StudyTime", "AccessionNumber"):
            setattr(image, tag, "")
    code = hd.sr.CodedConcept("123037004", "SCT", "Anatomical structure")
    about = [
        hd.seg.SegmentDescription(
            segment_number=i,
            segment_label=name,
            segmented_property_category=code,
            segmented_property_type=code,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for i, name in enumerate(masks, 1)
    ]
    pixels = np.stack([mask.T for mask in masks.values()], axis=-1)  # slices, rows, columns, names
    hd.seg.Segmentation(
        images,
        pixels.astype(np.uint8),
        hd.seg.SegmentationTypeValues.BINARY,
        about,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
    ).save_as(path)
    return path


def save_contours(path: Path, contours: dict[str, list[np.ndarray]], series: str) -> Path:
    """An RTSTRUCT; ``contours`` {name: closed outlines of points (n, 3) in mm, LPS}."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = RTSTRUCT
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Modality = "RTSTRUCT"
    referred = _item(RTReferencedSeriesSequence=[_item(SeriesInstanceUID=series)])
    frame = _item(RTReferencedStudySequence=[referred])
    data.ReferencedFrameOfReferenceSequence = [frame]
    data.StructureSetROISequence = [
        _item(ROINumber=i, ROIName=name) for i, name in enumerate(contours, 1)
    ]
    data.ROIContourSequence = []
    for i, outlines in enumerate(contours.values(), 1):
        items = []
        for points in outlines:
            numbers = [f"{n:.4f}" for n in points.ravel()]
            about = {"ContourGeometricType": "CLOSED_PLANAR", "NumberOfContourPoints": len(points)}
            items.append(_item(**about, ContourData=numbers))
        data.ROIContourSequence.append(_item(ReferencedROINumber=i, ContourSequence=items))
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path
