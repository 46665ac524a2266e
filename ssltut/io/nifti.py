"""NIfTI in and out: cases read from files, labels and images written and read back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np

from ssltut.data.case import Case, spacing_of
from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError, DataError, DataWarning
from ssltut.files import whole_file
from ssltut.io._nifti_header import Spacing
from ssltut.io.entries import stem_of
from ssltut.io.formats import read_scan, read_volume
from ssltut.io.volume import Note, Volume, check_values, flaw_of, strict

ROUNDING = 1e-3  # of labels in float32, or scaled by a slope


def read_case(
    path: Path,
    label_path: Path | None = None,
    *,
    table: LabelTable | None = None,
    modality: str = "CT",
    case_id: str | None = None,
    patient: str | None = None,
    meta: Mapping[str, Any] | None = None,
    assume_spacing: Spacing | None = None,
    fill: float | None = None,
) -> Case:
    """One scan, and its label where there is one, turned to RAS+.

    HU stay int16 where they are whole numbers; the image is float32 otherwise, and always for
    another ``modality`` than CT. ``assume_spacing`` (mm) stands in for a missing affine, ``fill``
    (HU) for NaN and infinite voxels. Labels must be values of ``table`` where one is given. Raises
    DataError with the first thing that is wrong, warns with DataWarning.
    """
    path = Path(path)
    options = {"assume_spacing": assume_spacing, "fill": fill}
    image = cast(Volume, read_scan(path, strict, modality, **options))
    meta = {"modality": modality} if meta is None else meta
    check_values(image.values, path, strict, modality, is_crop="side" in meta)
    values = image.values if modality == "CT" else image.values.astype(np.float32, copy=False)
    label = None
    if label_path is not None:
        mask = cast(Volume, read_volume(Path(label_path), strict, assume_spacing=assume_spacing))
        check_grid(image, mask, label_path)
        check_label(mask.values, label_path, table, note=strict)
        label = as_label(mask.values)
    name = case_id or scan_id(path)
    affine, axes = image.affine, image.orientation
    return Case(name, patient or name, values, label, affine, meta, path, axes)


def scan_id(path: Path) -> str:
    """The file name without .nii, .nii.gz or another ending of files with voxels."""
    return stem_of(Path(path))


def check_grid(image: Volume, mask: Volume, where: Path) -> None:
    """Raise DataError unless shapes are equal and corners less than 0.1 voxel apart."""
    shape, fix = image.values.shape, "resample the label onto the image's grid"
    if mask.values.shape != shape:
        what = f"the label has shape {mask.values.shape}, the image {shape} (RAS order)"
        raise DataError(what, where=where, fix=fix)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    image_mm, mask_mm = (nib.affines.apply_affine(v.affine, corners) for v in (image, mask))
    apart = np.linalg.norm(image_mm - mask_mm, axis=1).max()  # NaN without a usable affine
    voxel = min(spacing_of(image.affine))
    if apart >= 0.1 * voxel:
        what = "label and image lie on different grids: corner voxels are up to"
        what += f" {apart:.3g} mm ({apart / voxel:.2g} voxels) apart"
        fix += ", or copy the image's affine if only the header is wrong"
        raise DataError(what, where=where, fix=fix)


def check_label(
    values: np.ndarray, where: Path, table: LabelTable | None = None, note: Note | None = None
) -> None:
    """Raise DataError unless all labels are whole numbers of ``table`` (0 to 65535 without one).

    What is less than 0.001 from a whole number is a rounding error of the file (``as_label``).
    ``note`` takes the warning about a label with a single class.
    """
    found, counts = np.unique(values, return_counts=True)
    labels = found.astype(float)
    broken = ~np.isclose(labels, np.rint(labels), rtol=0, atol=ROUNDING)
    if broken.any():
        examples = ", ".join(f"{value:.6g}" for value in labels[broken][:5])
        more = " ..." if broken.sum() > 5 else ""
        what = f"{counts[broken].sum()} label voxels are not whole numbers ({examples}{more})"
        fix = "resample labels with nearest neighbour and save them as uint8 without scaling"
        raise DataError(what, where=where, fix=fix)
    labels = np.rint(labels)
    outside = (labels < 0) | (labels >= (table.n_classes if table else 2**16))
    if outside.any():
        pairs = zip(labels[outside][:8], counts[outside][:8], strict=True)
        examples = ", ".join(f"{value:.10g} ({count} voxels)" for value, count in pairs)
        names = (f"{i} {name}" for i, name in enumerate(table.names)) if table else ["0 to 65535"]
        what = f"{outside.sum()} label values are not in the table: {examples}"
        raise DataError(what, where=where, fix=f"map them to {', '.join(names)}")
    if len(labels) == 1 and note is not None:
        what = f"the label has one class only: {int(labels[0])} in all {counts[0]} voxels"
        note(DataWarning(what, where=where, fix="look at it with the image"))


def as_label(values: np.ndarray) -> np.ndarray:
    """Whole numbers as uint8, or uint16 where one is above 255."""
    values = np.rint(values) if values.dtype.kind == "f" else values
    return values.astype(np.uint8 if values.max() < 2**8 else np.uint16, copy=False)


def write_image(case: Case, path: Path) -> None:
    """Save the image as int16 or float32, unscaled, in RAS+. Raises as ``_save``."""
    dtype = np.int16 if case.image.dtype.kind in "iu" else np.float32
    _save(case.image.astype(dtype, copy=False), case.affine, path, overwrite=False)


def write_label(
    label: np.ndarray, affine: np.ndarray, path: Path, *, overwrite: bool = False
) -> None:
    """Save a label (X, Y, Z) as uint8 or uint16. Raises as ``check_label`` and ``_save``."""
    check_label(label, path)
    _save(as_label(label), affine, path, overwrite=overwrite)


def write_like_source(
    label: np.ndarray, case: Case, path: Path, *, overwrite: bool = False
) -> None:
    """Save a label on the RAS+ grid of ``case`` with the axes and affine of the case's own file.

    Raises as ``write_label``, and DataError for a label of another shape.
    """
    if label.shape != case.image.shape:
        what = f"the label has shape {label.shape}, the case {case.image.shape}"
        raise DataError(what, where=path, fix="predict on the case as it was read")
    to_codes = nib.orientations.axcodes2ornt
    turn = nib.orientations.ornt_transform(to_codes("RAS"), to_codes(case.orientation))
    affine = case.affine @ nib.orientations.inv_ornt_aff(turn, label.shape)
    write_label(nib.apply_orientation(label, turn), affine, path, overwrite=overwrite)


def _save(values: np.ndarray, affine: np.ndarray, path: Path, *, overwrite: bool) -> None:
    """All or nothing: written beside ``path``, read back, then renamed.

    Raises ConfigError when ``path`` exists or has another name; DataError for an unusable affine
    or a file that does not hold what was saved.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        what = "the name does not say that this is NIfTI"
        raise ConfigError(what, where=path, fix="end it with .nii.gz or .nii")
    if path.exists() and not overwrite:
        fix = "choose another name or pass overwrite=True; nothing was overwritten"
        raise ConfigError("the file exists already", where=path, fix=fix)
    if flaw := flaw_of(affine, values.shape):
        fix = "give the scan its geometry before saving it"
        raise DataError(f"the affine {flaw}", where=path, fix=fix)
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    try:
        with whole_file(path) as part:
            nib.save(image, part)
            kept: Any = nib.load(part)
            if not np.array_equal(np.asanyarray(kept.dataobj), values):
                what = "the file read back differs from what was saved"
                raise DataError(what, where=path, fix="check the disk and save it again")
    except OSError as error:  # a full disk names no file
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
