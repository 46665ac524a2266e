"""The left-atrium benchmark: 80 cardiac MR scans of the 2018 Atrial Segmentation Challenge.

(Xiong et al. 2020.) The scans are those preprocessed in github.com/yulequan/UA-MT, as its .h5 files
(``ssltut fetch left_atrium``) or kept as 8-bit .npz files, in the order of its training list. The
20 scans of its test list lie in a folder of their own, beside a test.list.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Source
from ssltut.data.labels import ATRIUM
from ssltut.data.split import Split
from ssltut.errors import DataError
from ssltut.files import digest_of

SPACING = 0.625  # mm, isotropic
TRAIN_LIST, TEST_LIST = "train.list", "test.list"


def is_atrium(folder: Path) -> bool:
    """Whether ``folder`` holds .npz files or mri_norm2.h5 beside train.list or manifest.json."""
    folder = Path(folder)
    listed = any((folder / name).is_file() for name in (TRAIN_LIST, "manifest.json"))
    return listed and any(any(folder.glob(pattern)) for pattern in ("*.npz", "*/mri_norm2.h5"))


def atrium_file(folder: Path, name: str) -> Path:
    """Where the scan lies: NAME/mri_norm2.h5 as published, where it is there, else NAME.npz."""
    published = Path(folder) / name / "mri_norm2.h5"
    return published if published.is_file() else Path(folder) / f"{name}.npz"


def atrium_ids(folder: Path, name: str = TRAIN_LIST) -> list[str]:
    """The scans in the published order: the first 4, 8 or 16 for training are the labelled ones.

    Raises DataError without that file, or when it names a scan twice.
    """
    file = Path(folder) / name
    if not file.is_file():
        what = f"there is no {name}, the published order of the scans"
        raise DataError(what, where=folder, fix="copy it beside the scans")
    lines = file.read_text(encoding="utf-8").split()
    ids = [line.partition("/")[0] for line in lines]  # NAME or NAME/mri_norm2.h5
    if not ids or len(set(ids)) != len(ids):
        what = f"the list names {len(ids)} scans, {len(set(ids))} of them different"
        raise DataError(what, where=file, fix="take the published list")
    return ids


def read_atrium(folder: Path, test_list: Path | None = None) -> Cohort:
    """80 cardiac MR scans, of which the first 8 of the published order are labelled.

    The test is the 20 scans of the published ``test_list``, else the last 16 of the 80; validation,
    which published protocols lack, the last 4 of the rest. Raises DataError for a missing or
    damaged list, and for a scan in both.
    """
    train, test_home = atrium_ids(folder), Path(test_list or folder)
    if test_list:
        name, test = "left atrium, published test", atrium_ids(test_home, TEST_LIST)
    else:
        name, train, test = "left atrium", train[:-16], train[-16:]
    homes = dict.fromkeys(train, folder.absolute()) | dict.fromkeys(test, test_home.absolute())
    sources = {
        i: Source(i, True, digest_of(atrium_file(home, i)), partial(load_atrium, home, i))
        for i, home in homes.items()
    }
    split = Split(tuple(train[:8]), tuple(train[8:-4]), tuple(train[-4:]), tuple(test))
    split.check({i: i for i in sources}, test_home)
    return Cohort(name, ATRIUM, "MR", split, sources)


def load_atrium(folder: Path, name: str) -> Case:
    """One scan: image float32, z-scored as published, label uint8, 0.625 mm.

    The last axis counts the 88 slices. The .h5 files keep no header: ``meta["orientation"]`` is
    "unknown" and the affine is right about lengths only. Raises DataError when the file is missing,
    damaged or not of the shape in manifest.json.
    """
    file, manifest = atrium_file(folder, name), Path(folder) / "manifest.json"
    if not file.is_file():
        fix = "download the left-atrium scans again, or take its name out of train.list"
        raise DataError("the scan is missing", where=file, fix=fix)
    try:
        image, label = _read_arrays(file)
    except MemoryError:
        raise
    except Exception as error:  # of many kinds, of numpy, zip and HDF5
        what = f"the scan cannot be read ({file.stat().st_size} bytes: {error})"
        raise DataError(what, where=file, fix="download it again") from None
    promised = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    shape = promised.get(name, {}).get("shape")
    is_sound = image.shape == label.shape and shape in (None, list(image.shape))
    if not is_sound or label.max() > 1 or not np.isfinite(image).all():
        what = f"the image is {image.shape}, the label {label.shape} with values up to"
        what += f" {label.max()}; expected {shape or 'one shape'}, labels 0 and 1"
        raise DataError(f"{what} and finite numbers", where=file, fix="download it again")
    affine, meta = np.diag([SPACING] * 3 + [1.0]), {"modality": "MR", "orientation": "unknown"}
    return Case(name, name, image, label.astype(np.uint8, copy=False), affine, meta, file)


def _read_arrays(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Image and label; the 8-bit images of an .npz are kept as (value - offset) / scale."""
    if file.suffix == ".h5":
        import h5py

        with h5py.File(file) as arrays:
            return np.asarray(arrays["image"], np.float32), np.asarray(arrays["label"])
    with np.load(file, allow_pickle=False) as kept:
        offset, scale = np.float32(kept["offset"]), np.float32(kept["scale"])
        return offset + scale * kept["image"].astype(np.float32), kept["label"]
