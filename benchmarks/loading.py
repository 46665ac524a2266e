"""Scans in .nii.gz from the disk to the first patch, against nibabel's get_fdata."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
from turns import Row, in_turns

from ssltut.data.patches import Intensity, PatchPool
from ssltut.io import _nifti_header
from ssltut.io.nifti import read_case
from ssltut.seeding import generator_for
from ssltut.synthetic.hip import make_case

N, SIZE = 6, 96


def rows() -> list[Row]:
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.nii.gz" for i in range(N)]
        for i, file in enumerate(files):
            case = make_case(i, size=SIZE)
            nib.save(nib.Nifti1Image(case.image, case.affine), file)

        def ours() -> object:
            cases = [read_case(file) for file in files]
            pool = PatchPool(cases, Intensity.of(cases), (32,) * 3, "cpu")
            return pool.sample(1, generator_for("cpu", 0))

        def with_gzip() -> object:
            quick, _nifti_header.quick_gzip = _nifti_header.quick_gzip, _nifti_header.gzip
            try:
                return ours()
            finally:
                _nifti_header.quick_gzip = quick

        def nibabel() -> object:
            return [nib.load(file).get_fdata()[:32, :32, :32] for file in files]

        contestants: dict[str, Callable[[], object]] = {"ours": ours, "nibabel get_fdata": nibabel}
        skipped = ["isal"]
        with suppress(ImportError):
            import isal  # noqa: F401

            contestants["ours without isal"] = with_gzip
            skipped = []
        timings = in_turns(contestants, 7)
    what = f"{N} gz scans of {SIZE}³ to the first patch"
    return [Row(what, "0.8 of nibabel, 0.1 from a cache", timings, skipped)]
