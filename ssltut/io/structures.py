"""Labels in every form: numbers on the scan's grid, masks with names, DICOM SEG and RTSTRUCT."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
from nibabel.affines import apply_affine

from ssltut.data.labels import LabelMap
from ssltut.errors import DataError, DataWarning, SsltutError
from ssltut.io.dicom import LPS_TO_RAS
from ssltut.io.dicom_series import is_dicom
from ssltut.io.entries import has_voxels, stem_of, words_of
from ssltut.io.formats import INSTALL, read_nrrd, read_volume
from ssltut.io.nifti import as_label, check_grid, check_label
from ssltut.io.volume import Finding, Note, Volume, as_ras

Lazy = Callable[[], np.ndarray]  # reads (X, Y, Z) on the scan's grid when it is called
Masks = dict[str, Lazy]  # by name; above 0 in the mask
AGAIN = "export the label again, or convert it to NIfTI, for example with 3D Slicer"


def read_label(path: Path, scan: Volume, mapping: LabelMap, note: Note) -> np.ndarray:
    """Classes of ``mapping.table`` (X, Y, Z) uint8 on the grid of ``scan``.

    Masks with names (a folder of them, .seg.nrrd, DICOM) are classes by the names in the mapping or
    in its table, .seg.nrrd and SEG without any of them by their numbers. Raises DataError for what
    is no label, has no name of the mapping or does not lie on the grid.
    """
    masks, numbers = _masks_of(path, scan, note)
    wanted = _wanted(masks, mapping)
    if wanted:
        return _classes(masks, wanted, scan, path, note)
    if numbers is None:
        names = ", ".join(sorted(masks)[:8]) or "none"
        what = f"none of its structures ({names}) has a name of the mapping"
        fix = "name them in a mapping file: masks: {FILE OR STRUCTURE: class}"
        raise DataError(what, where=path, fix=fix)
    values = numbers()
    check_label(values, path, note=note)
    return mapping(as_label(values), path)


def _masks_of(path: Path, scan: Volume, note: Note) -> tuple[Masks, Lazy | None]:
    """The masks by name, and the label's numbers, where it has some."""
    if path.is_dir():
        files = filter(has_voxels, sorted(path.iterdir()))
        return {stem_of(file): partial(_numbers, file, scan, note) for file in files}, None
    if path.name.lower().endswith(".seg.nrrd"):
        return _slicer_segments(path, scan)
    if not has_voxels(path) and is_dicom(path):
        return _dicom_masks(path, scan)
    return {}, partial(_numbers, path, scan, note)


def _numbers(path: Path, scan: Volume, note: Note) -> np.ndarray:
    """The numbers of a label file that lies on the grid of ``scan``."""

    def raise_errors(finding: Finding) -> None:
        if isinstance(finding, SsltutError):
            raise finding
        note(finding)

    mask = read_volume(path, raise_errors)
    assert mask is not None, "raise_errors raises what stops the reading"
    check_grid(scan, mask, path)
    return mask.values


def _wanted(masks: Mapping[str, object], mapping: LabelMap) -> dict[str, int]:
    """{name: class} of the mapping's masks, or of its table, if any is there; else nothing."""
    there = {words_of(name) for name in masks}
    own = {name: i for i, name in enumerate(mapping.table.names) if i}
    for names in (dict(mapping.masks), own):
        if any(words_of(name) in there for name in names):
            return names
    return {}


def _classes(
    masks: Masks, wanted: Mapping[str, int], scan: Volume, where: Path, note: Note
) -> np.ndarray:
    of = {words_of(name): mask for name, mask in masks.items()}
    if absent := sorted(name for name in wanted if words_of(name) not in of):
        what = f"{len(absent)} of {len(wanted)} masks are missing, the first is {absent[0]}"
        raise DataError(what, where=where, fix="add them, or take them out of the mapping")
    label = np.zeros(scan.values.shape, np.uint8)
    for name in sorted(wanted):
        mask = of[words_of(name)]() > 0
        if both := np.count_nonzero(mask & (label > 0) & (label != wanted[name])):
            what = f"{both} voxels of {name} are in a mask of another class too: they become {name}"
            note(DataWarning(what, where=where, fix="look at the label with the scan"))
        label[mask] = wanted[name]
    return label


def on_grid(scan: Volume, mask: Volume, where: Path) -> np.ndarray:
    """The numbers of a mask, which may be a part of the scan's grid, on the whole of it.

    Raises DataError when its voxels do not fall on those of the scan or lie outside.
    """
    shape = np.array(mask.values.shape)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (shape - 1)
    at = apply_affine(np.linalg.inv(scan.affine) @ mask.affine, corners)
    start = np.rint(at[0]).astype(int)
    apart = np.abs(at - corners - start).max()
    if not apart < 0.1:
        what = f"the label lies on another grid than the scan, by up to {apart:.2g} voxels"
        raise DataError(what, where=where, fix="resample the label onto the image's grid")
    result = np.zeros(scan.values.shape, mask.values.dtype)
    first, end = np.maximum(start, 0), np.minimum(start + shape, result.shape)
    inside = tuple(map(slice, first, np.maximum(end, first)))
    source = tuple(map(slice, first - start, np.maximum(end, first) - start))
    result[inside] = mask.values[source]
    if lost := np.count_nonzero(mask.values) - np.count_nonzero(result):
        what = f"{lost} voxels of the label lie outside the scan"
        raise DataError(what, where=where, fix="check that the label was made for this scan")
    return result


def _slicer_segments(path: Path, scan: Volume) -> tuple[Masks, Lazy | None]:
    """The segments of a .seg.nrrd: layers of numbers, and names in its header."""
    values, affine, header = read_nrrd(path)
    layers = values if values.ndim == 4 else values[None]
    placed = [on_grid(scan, as_ras(layer, affine), path) for layer in layers]
    masks: Masks = {}
    try:
        for key in [key for key in header if key.endswith("_LabelValue")]:
            segment = key.removesuffix("_LabelValue")
            layer = placed[int(header.get(f"{segment}_Layer", 0))]
            name = str(header.get(f"{segment}_Name", segment))
            masks[name] = partial(np.equal, layer, int(header[key]))
    except (ValueError, IndexError) as error:
        raise DataError(f"its segments make no sense ({error})", where=path, fix=AGAIN) from None
    return masks, None if len(placed) > 1 else lambda: placed[0]


def referenced_series(path: Path) -> str | None:
    """The number of the series that a DICOM SEG or RTSTRUCT was drawn on, if it says so."""
    try:
        data = pydicom.dcmread(path, stop_before_pixels=True)
        if data.Modality == "SEG":
            return str(data.ReferencedSeriesSequence[0].SeriesInstanceUID)
        study = data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        return str(study.RTReferencedSeriesSequence[0].SeriesInstanceUID)
    except Exception:  # what a stranger's file lacks
        return None


def _dicom_masks(path: Path, scan: Volume) -> tuple[Masks, Lazy | None]:
    try:
        data = pydicom.dcmread(path)
        if data.Modality == "RTSTRUCT":
            return _contours(data, scan, path), None
        masks, numbers = _segments(path, scan)
    except DataError:
        raise
    except Exception as error:  # what a stranger's file lacks
        raise _unreadable(error, path) from None
    pairs = list(zip(numbers, masks.values(), strict=True))
    return masks, lambda: np.sum([np.uint16(n) * mask() for n, mask in pairs], axis=0)


def _unreadable(error: Exception, path: Path) -> DataError:
    what = f"the label cannot be read ({type(error).__name__}: {error})"
    return DataError(what, where=path, fix=AGAIN)


def _segments(path: Path, scan: Volume) -> tuple[Masks, list[int]]:
    try:
        import highdicom
    except ModuleNotFoundError:
        what = "highdicom, which reads DICOM SEG, is not installed"
        raise DataError(what, where=path, fix=INSTALL) from None
    data = highdicom.seg.segread(path)

    def mask(number: int) -> np.ndarray:
        try:
            part = data.get_volume(segment_numbers=[number], combine_segments=True, relabel=True)
        except Exception as error:  # as above
            raise _unreadable(error, path) from None
        volume = as_ras(part.array.astype(np.uint8), LPS_TO_RAS @ part.affine)
        return on_grid(scan, volume, path) > 0

    numbers = list(data.segment_numbers)
    names = [data.get_segment_description(n).segment_label for n in numbers]
    return {name: partial(mask, n) for name, n in zip(names, numbers, strict=True)}, numbers


def _contours(data: pydicom.Dataset, scan: Volume, path: Path) -> Masks:
    """The structures of an RTSTRUCT: a voxel is in one where its centre is in an odd number of
    the contours of its slice.
    """
    from skimage.draw import polygon2mask

    to_voxels = np.linalg.inv(scan.affine) @ LPS_TO_RAS

    def mask(contours: list[np.ndarray]) -> np.ndarray:
        inside = np.zeros(scan.values.shape, bool)
        for points in contours:
            at = apply_affine(to_voxels, points)
            axis = int(np.argmin(np.ptp(at, axis=0)))
            k = round(float(at[0, axis])) if np.isfinite(at).all() else -1
            if np.abs(at[:, axis] - k).max() > 0.3 or not 0 <= k < inside.shape[axis]:
                what = "a contour does not lie in one slice of the scan"
                raise DataError(what, where=path, fix="convert it to NIfTI on the scan's grid")
            plane = np.moveaxis(inside, axis, 0)[k]
            plane ^= polygon2mask(plane.shape, np.delete(at, axis, axis=1))
        return inside

    names = {roi.ROINumber: str(roi.ROIName) for roi in data.StructureSetROISequence}
    masks: Masks = {}
    for roi in data.ROIContourSequence:
        closed = [c for c in roi.get("ContourSequence", []) if "CLOSED" in c.ContourGeometricType]
        points = [np.array(c.ContourData, float).reshape(-1, 3) for c in closed]
        masks[names[roi.ReferencedROINumber]] = partial(mask, points)
    return masks
