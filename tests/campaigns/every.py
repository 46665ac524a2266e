"""The campaigns by name: how to prepare each in a folder that lives as long as all of them."""

from collections.abc import Callable
from pathlib import Path

import archives
import formats
import scans
import text_files
from trials import Campaign, prepare_intake


def of_nifti(folder: Path) -> Campaign:
    prepare_intake()
    return Campaign("NIfTI files", scans.nifti, 2000)


def of_dicom(folder: Path) -> Campaign:
    prepare_intake()
    return Campaign("DICOM series", scans.dicom, 500)


def of_formats(folder: Path) -> Campaign:
    prepare_intake()
    return Campaign("other formats", formats.other_format, 500)


def of_text_files(folder: Path) -> Campaign:
    prepare_intake()
    return Campaign("text files", text_files.prepared(folder), 500)


def of_archives(folder: Path) -> Campaign:
    return Campaign("archives", archives.archive, 150)


CAMPAIGNS: dict[str, Callable[[Path], Campaign]] = {
    "nifti": of_nifti,
    "dicom": of_dicom,
    "formats": of_formats,
    "text": of_text_files,
    "archives": of_archives,
}
