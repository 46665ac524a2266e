"""NRRD, MetaImage and .hdr/.img are read as NIfTI is, and what is wrong in them is named."""

import builtins
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy_formats import save_meta, save_nrrd
from toy_nifti import AFFINE, HU, LABEL, NAN, holed, save

from ssltut.errors import DataError
from ssltut.io.formats import INSTALL, read_scan, read_volume
from ssltut.io.nifti import read_case
from ssltut.io.volume import strict

TURN = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def save_pair(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Pair(values, affine), path)
    return path


SAVED = {
    "a.nrrd": save_nrrd,
    "a.nhdr": save_nrrd,
    "a.mha": save_meta,
    "A.MHA": save_meta,
    "a.mhd": save_meta,
    "zipped.mha": lambda *given: save_meta(*given, CompressedData=True),
    "zipped.mhd": lambda *given: save_meta(*given, CompressedData=True),
    "a.hdr": save_pair,
}


@pytest.mark.parametrize("affine", [AFFINE, TURN @ AFFINE], ids=["straight", "turned"])
@pytest.mark.parametrize("name", SAVED)
def test_the_same_volume_in_every_format(tmp_path: Path, name: str, affine: np.ndarray) -> None:
    path = tmp_path / (name.lower() if name.endswith("MHA") else name)
    SAVED[name](path, HU, affine)
    path = path.rename(tmp_path / name)
    volume = read_volume(path, strict)
    as_nifti = read_volume(save(tmp_path / "a.nii", HU, affine), strict)
    assert volume.values.dtype == np.int16
    assert np.array_equal(volume.values, as_nifti.values)
    assert np.allclose(volume.affine, as_nifti.affine, atol=1e-5)
    assert volume.orientation == as_nifti.orientation


def test_a_case_of_a_scan_and_its_label_in_other_formats(tmp_path: Path) -> None:
    scan = save_nrrd(tmp_path / "ct.nrrd", HU, AFFINE)
    case = read_case(scan, save_meta(tmp_path / "ct_seg.mha", LABEL, AFFINE))
    assert case.id == "ct"
    assert np.array_equal(case.label, LABEL)
    moved = AFFINE + np.outer([0, 1, 0, 0], [0, 0, 0, 1])
    with pytest.raises(DataError, match="lie on different grids"):
        read_case(scan, save_meta(tmp_path / "moved.mha", LABEL, moved))


@pytest.mark.parametrize("kind", ["nrrd", "mha", "mhd"])
def test_an_independent_reader_agrees(tmp_path: Path, kind: str) -> None:
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK, the independent reader, is not here")
    image = itk.GetImageFromArray(HU.T)
    image.SetSpacing((2, 1.5, 3))
    image.SetOrigin((10, -20, 30.5))
    image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    itk.WriteImage(image, str(tmp_path / f"a.{kind}"), True)
    itk.WriteImage(image, str(tmp_path / "a.nii"))
    volume, same = (read_volume(tmp_path / f"a.{end}", strict) for end in (kind, "nii"))
    assert np.array_equal(volume.values, same.values)
    assert np.allclose(volume.affine, same.affine, atol=1e-4)


def cut(path: Path, keep: int) -> Path:
    path.write_bytes(path.read_bytes()[:keep])
    return path


def texted(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


ELSEWHERE = "../other.raw"
BAD = {  # how to make it in a folder, and the words that must name the flaw
    "empty": (lambda d: texted(d / "a.mha", ""), "no MetaImage's"),
    "garbage": (lambda d: texted(d / "a.nrrd", "not a scan"), "cannot be read as NRRD"),
    "no sizes": (lambda d: save_meta(d / "a.mha", HU, AFFINE, DimSize=None), "dimsize"),
    "no place": (lambda d: save_meta(d / "a.mha", HU, AFFINE, Offset=None), "'origin'"),
    "type": (lambda d: save_meta(d / "a.mha", HU, AFFINE, ElementType="MET_OTHER"), "OTHER"),
    "colour": (
        lambda d: save_meta(d / "a.mha", HU, AFFINE, ElementNumberOfChannels=3),
        "3 numbers a voxel",
    ),
    "2D": (lambda d: save_meta(d / "a.mha", HU[..., 0], AFFINE), "2 axes"),
    "one slice": (lambda d: save_meta(d / "a.mha", HU[..., :1], AFFINE), "5 x 6 x 1 voxels"),
    "cut off": (lambda d: cut(save_meta(d / "a.mha", HU, AFFINE), 400), "the file has 400"),
    "damaged zip": (
        lambda d: (
            save_meta(d / "a.mha", HU, AFFINE, CompressedData="true ")
            and texted(d / "a.mha", (d / "a.mha").read_text("latin1")[:330] + "x" * 300)
        ),
        "damaged|cut off",
    ),
    "bomb": (
        lambda d: save_meta(d / "a.mha", HU, AFFINE, DimSize="20000 20000 20000"),
        "20000 x 20000 x 20000 voxels; the limit",
    ),
    "NaN in space": (lambda d: save_meta(d / "a.mha", HU, NAN), "geometry has"),
    "voxels elsewhere": (
        lambda d: save_meta(d / "a.mhd", HU, AFFINE, ElementDataFile=ELSEWHERE),
        "said to lie in ../other.raw",
    ),
    "voxels in a file without a name": (
        lambda d: save_meta(d / "a.mhd", HU, AFFINE, ElementDataFile=""),
        "said to lie in ,",
    ),
    "voxels in a list": (
        lambda d: save_meta(d / "a.mhd", HU, AFFINE, ElementDataFile="LIST"),
        "lie in LIST",
    ),
    "voxels lost": (
        lambda d: (save_meta(d / "a.mhd", HU, AFFINE), (d / "a.raw").unlink())[0],
        "no such file",
    ),
    "nrrd without space": (
        lambda d: save_nrrd(d / "a.nrrd", HU, AFFINE, space="scanner-xyz"),
        "does not say in mm how the scan lies",
    ),
    "nrrd in metres": (
        lambda d: save_nrrd(d / "a.nrrd", HU, AFFINE, **{"space units": ["m", "m", "m"]}),
        "units {'m'}",
    ),
    "nrrd of two volumes": (
        lambda d: save_nrrd(d / "a.nrrd", np.stack([HU, HU]), AFFINE),
        "2 x 5 x 6 x 7 voxels",
    ),
    "nrrd cut off": (
        lambda d: cut(save_nrrd(d / "a.nrrd", HU, AFFINE), 500),
        "cannot be read as NRRD",
    ),
    "NaN": (lambda d: save_nrrd(d / "a.nrrd", holed(HU), AFFINE), "2 voxels are NaN"),
    "pair without voxels": (
        lambda d: (save_pair(d / "a.hdr", HU, AFFINE), (d / "a.img").unlink())[0],
        "no such file",
    ),
    "Analyze": (
        lambda d: (nib.save(nib.AnalyzeImage(HU, AFFINE), d / "a.hdr"), d / "a.hdr")[1],
        "Analyze file",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named(tmp_path: Path, name: str) -> None:
    make, words = BAD[name]
    path = make(tmp_path)
    findings: list = []
    read_volume(path, findings.append)
    assert len(findings) == 1
    assert findings[0].fix
    with pytest.raises(DataError, match=words):
        raise findings[0]


def test_a_zip_that_says_less_than_it_holds_is_not_unpacked_whole(tmp_path: Path) -> None:
    path = save_meta(tmp_path / "a.mha", HU, AFFINE, CompressedData=True)
    text = path.read_bytes().partition(b"LOCAL\n")
    path.write_bytes(text[0] + text[1] + zlib.compress(HU.tobytes(order="F") + bytes(10**7)))
    assert np.array_equal(read_volume(path, strict).values, HU)


def test_without_the_extra_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_nrrd(tmp_path / "a.nrrd", HU, AFFINE)
    real = builtins.__import__

    def without(name: str, *given: object) -> object:
        if name == "nrrd":
            raise ModuleNotFoundError(name)
        return real(name, *given)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError) as caught:
        read_volume(path, strict)
    assert caught.value.fix == INSTALL
    assert "pynrrd" in str(caught.value)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_label_is_no_scan_whatever_its_name(tmp_path: Path, modality: str) -> None:
    for values in (LABEL, np.zeros_like(LABEL), (LABEL * 40).astype(np.float32)):
        with pytest.raises(DataError, match="looks like a label and not like a scan"):
            read_scan(save(tmp_path / "a.nii", values), strict, modality)
    with pytest.raises(DataError, match="it holds 3 whole numbers from 0 to 2"):
        read_case(save(tmp_path / "a.nii", LABEL))


def test_scans_are_scans(tmp_path: Path) -> None:
    grey = (np.arange(HU.size).reshape(HU.shape) % 100).astype(np.uint8)
    unshifted = np.random.default_rng(1).integers(0, 2500, (9, 9, 9)).astype(np.int16)
    for values, modality in ((HU, "CT"), (unshifted, "CT"), (grey, "MR"), (LABEL / 3, "MR")):
        assert read_scan(save(tmp_path / "a.nii", values), strict, modality) is not None
