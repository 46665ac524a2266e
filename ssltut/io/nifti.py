"""NIfTI in and out. One set of checks: `read_case` raises the first finding, `ssltut verify`
collects them all.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from ssltut.data.case import Case, spacing_of
from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError, DataError, DataWarning
from ssltut.io.nifti_header import Note, Volume, flaw_of, read_volume, strict


def read_case(
    path: Path,
    label_path: Path | None = None,
    *,
    table: LabelTable | None = None,
    modality: str = "CT",
    id: str | None = None,
    patient: str | None = None,
    assume_spacing: float | Sequence[float] | None = None,
    fill: float | None = None,
) -> Case:
    """One scan, and its label where there is one, turned to RAS+.

    HU stay int16 where they are whole numbers; the image is float32 otherwise, and always for
    another ``modality`` than CT. ``assume_spacing`` (mm) stands in for a missing affine, ``fill``
    (HU) for NaN and infinite voxels. Labels must be values of ``table`` where one is given. Raises
    DataError with the first thing that is wrong, warns with DataWarning.
    """
    path = Path(path)
    image = read_volume(path, strict, assume_spacing=assume_spacing, fill=fill)
    values = image.values if modality == "CT" else image.values.astype(np.float32, copy=False)
    label = None
    if label_path is not None:
        mask = read_volume(Path(label_path), strict, assume_spacing=assume_spacing)
        check_grid(image, mask, label_path, strict)
        check_label(mask.values, label_path, strict, table)
        label = as_label(mask.values)
    id = id or scan_id(path)
    return Case(
        id,
        patient or id,
        values,
        label,
        image.affine,
        {"modality": modality},
        path,
        image.orientation,
    )


def scan_id(path: Path) -> str:
    """The file name without .nii or .nii.gz."""
    return Path(path).name.removesuffix(".gz").removesuffix(".nii")


def check_grid(image: Volume, mask: Volume, where: object, note: Note) -> None:
    """Image and label must have one shape, and their corner voxels must lie less than 0.1 voxel
    apart.
    """
    if mask.values.shape != image.values.shape:
        return note(
            DataError(
                f"the label has shape {mask.values.shape}, the image {image.values.shape} (RAS"
                " order)",
                where=where,
                fix="resample the label onto the image's grid",
            )
        )
    if image.affine is None or mask.affine is None:
        return None
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.values.shape) - 1)
    apart = np.linalg.norm(
        nib.affines.apply_affine(image.affine, corners)
        - nib.affines.apply_affine(mask.affine, corners),
        axis=1,
    ).max()
    voxel = min(spacing_of(image.affine))
    if apart >= 0.1 * voxel:
        note(
            DataError(
                f"label and image lie on different grids: corner voxels are up to {apart:.3g} mm"
                f" ({apart / voxel:.2g} voxels) apart",
                where=where,
                fix=(
                    "resample the label onto the image's grid, or copy the image's affine if only"
                    " the header is wrong"
                ),
            )
        )


def check_label(
    values: np.ndarray, where: object, note: Note, table: LabelTable | None = None
) -> None:
    """Labels are whole numbers of ``table`` (0 to 65535 without one); a label with a single class
    is worth a look.
    """
    found, counts = np.unique(values, return_counts=True)
    if (broken := found != np.rint(found)).any():
        listed = ", ".join(f"{v:.6g}" for v in found[broken][:5])
        return note(
            DataError(
                f"{counts[broken].sum()} label voxels are not whole numbers"
                f" ({listed}{' ...' if broken.sum() > 5 else ''})",
                where=where,
                fix="resample labels with nearest neighbour and save them as uint8 without scaling",
            )
        )
    n = table.n_classes if table else 2**16
    if (outside := (found < 0) | (found >= n)).any():
        listed = ", ".join(
            f"{v:.10g} ({c} voxels)"
            for v, c in zip(found[outside][:8], counts[outside][:8], strict=True)
        )
        names = (
            ", ".join(f"{i} {name}" for i, name in enumerate(table.names))
            if table
            else f"0 to {n - 1}"
        )
        return note(
            DataError(
                f"{outside.sum()} label values are not in the table: {listed}",
                where=where,
                fix=f"map them to {names}",
            )
        )
    if len(found) == 1:
        note(
            DataWarning(
                f"the label has one class only: {int(found[0])} in all {counts[0]} voxels",
                where=where,
                fix="look at it with the image",
            )
        )


def as_label(values: np.ndarray) -> np.ndarray:
    """Whole numbers as uint8, or uint16 where one is above 255."""
    return values.astype(np.uint8 if values.max() < 2**8 else np.uint16, copy=False)


def write_image(case: Case, path: Path, *, overwrite: bool = False) -> None:
    """Save the image as int16 or float32, unscaled, in RAS+. Raises ConfigError when ``path``
    exists, DataError for an unusable affine.
    """
    _save(
        case.image.astype(np.int16 if case.image.dtype.kind in "iu" else np.float32, copy=False),
        case.affine,
        path,
        overwrite,
    )


def write_label(
    label: np.ndarray,
    affine: np.ndarray,
    path: Path,
    table: LabelTable | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Save a label (X, Y, Z) as uint8 or uint16, unscaled, and read it back before it gets its
    name.

    Raises ConfigError when ``path`` exists; DataError for values that are not whole or not in
    ``table``, or a file that does not hold what was saved.
    """
    check_label(
        label,
        path,
        lambda finding: strict(finding) if isinstance(finding, DataError) else None,
        table,
    )
    _save(as_label(label), affine, path, overwrite)


def write_like_source(
    label: np.ndarray, case: Case, path: Path, *, overwrite: bool = False
) -> None:
    """Save a label on the RAS+ grid of ``case`` in the axis order, and with the affine, of the file
    the case came from. Raises as write_label.
    """
    if label.shape != case.image.shape:
        raise DataError(
            f"the label has shape {label.shape}, the case {case.image.shape}",
            where=path,
            fix="predict on the case as it was read",
        )
    back = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(case.orientation)
    )
    affine = case.affine @ nib.orientations.inv_ornt_aff(back, label.shape)
    write_label(nib.apply_orientation(label, back), affine, path, overwrite=overwrite)


def _save(values: np.ndarray, affine: np.ndarray, path: Path, overwrite: bool) -> None:
    """All or nothing: written beside ``path``, read back, then renamed."""
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ConfigError(
            "the name does not say that this is NIfTI",
            where=path,
            fix="end it with .nii.gz or .nii",
        )
    if path.exists() and not overwrite:
        raise ConfigError(
            "the file exists already",
            where=path,
            fix="choose another name or pass overwrite=True; nothing was overwritten",
        )
    if flaw := flaw_of(affine):
        raise DataError(
            f"the affine {flaw}", where=path, fix="give the scan its geometry before saving it"
        )
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    part = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(image, part)
        if not np.array_equal(np.asanyarray(nib.load(part).dataobj), values):
            raise DataError(
                "the file read back differs from what was saved",
                where=path,
                fix="check the disk and save it again",
            )
        os.replace(part, path)
    except OSError as error:  # a full disk names no file
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        part.unlink(missing_ok=True)
