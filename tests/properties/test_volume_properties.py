"""Properties of volumes and splits, on inputs that hypothesis draws."""

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from examples import SEEDS, SPACINGS, several, sides
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.ndimage import center_of_mass
from scipy.spatial.transform import Rotation
from toy_nifti import AFFINE

from ssltut.data.case import Case, spacing_of
from ssltut.data.components import remove_small_components
from ssltut.data.crop_hips import crop_hips
from ssltut.data.resample import onto_grid, resample
from ssltut.data.split import PARTS, make_split
from ssltut.errors import DataError
from ssltut.io.nifti import read_case, write_image, write_label, write_like_source
from ssltut.io.volume import as_ras

LETTERS = ["RL", "AP", "SI"]
WAYS = [way for axes in itertools.permutations(LETTERS) for way in itertools.product(*axes)]
ANGLES = st.tuples(*[st.floats(-25, 25)] * 3)


def turned(spacing: tuple[float, float, float], angles: tuple[float, float, float]) -> np.ndarray:
    """An affine with these voxels, turned by three angles in degrees."""
    matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(spacing)
    return nib.affines.from_matvec(matrix, [-30, 10, 5])


def case_of(seed: int, shape: tuple[int, int, int], affine: np.ndarray = AFFINE) -> Case:
    """A scan of whole numbers with a label of two classes."""
    rng = np.random.default_rng(seed)
    image = rng.integers(-1000, 2000, shape).astype(np.int16)
    return Case("a", "p", image, (image % 3).astype(np.uint8), affine, {})


@contextmanager
def folder() -> Iterator[Path]:
    """A new one for each example, which fixtures of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def written(case: Case, place: Path) -> tuple[Path, Path]:
    """Image and label as NIfTI."""
    image, label = place / "image.nii.gz", place / "label.nii.gz"
    write_image(case, image)
    write_label(case.label, case.affine, label)
    return image, label


@several
@given(SEEDS, sides(2, 7), SPACINGS, ANGLES, st.sampled_from(WAYS))
def test_any_order_of_the_axes_is_read_as_one_volume(seed, shape, spacing, angles, way) -> None:
    affine = turned(spacing, angles)
    values = np.random.default_rng(seed).integers(-1000, 2000, shape).astype(np.int16)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(np.eye(4)), nib.orientations.axcodes2ornt(way)
    )
    stored = nib.apply_orientation(values, turn)
    volume = as_ras(stored, affine @ nib.orientations.inv_ornt_aff(turn, shape))
    assert np.array_equal(volume.values, values)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)
    assert spacing_of(volume.affine) == pytest.approx(spacing)


@several
@given(SEEDS, sides(3, 7), SPACINGS, ANGLES)
def test_what_is_written_is_read(seed, shape, spacing, angles) -> None:
    case = case_of(seed, shape, turned(spacing, angles))
    assume(np.ptp(case.image) > 0)
    with folder() as place:
        read = read_case(*written(case, place))
    assert np.array_equal(read.image, case.image)
    assert np.array_equal(read.label, case.label)
    np.testing.assert_allclose(read.affine, case.affine, atol=1e-4)


@several
@given(SEEDS, sides(3, 7), ANGLES, st.sampled_from(WAYS))
def test_a_prediction_lies_on_the_grid_of_its_scan(seed, shape, angles, way) -> None:
    case = case_of(seed, shape, turned((1.0, 2.0, 0.7), angles))
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(np.eye(4)), nib.orientations.axcodes2ornt(way)
    )
    affine = case.affine @ nib.orientations.inv_ornt_aff(turn, shape)
    with folder() as place:
        scan = place / "scan.nii.gz"
        nib.save(nib.Nifti1Image(nib.apply_orientation(case.image, turn), affine), scan)
        read = read_case(scan)
        write_like_source(case.label, read, place / "answer.nii.gz")
        answer, source = nib.load(place / "answer.nii.gz"), nib.load(scan)
        assert answer.shape == source.shape
        np.testing.assert_allclose(answer.affine, source.affine, atol=1e-4)
        assert np.array_equal(
            np.asanyarray(answer.dataobj), nib.apply_orientation(case.label, turn)
        )


@several
@given(SEEDS, sides(2, 7), ANGLES)
def test_a_label_put_onto_its_own_grid_is_itself(seed, shape, angles) -> None:
    case = case_of(seed, shape, turned((1.0, 2.0, 0.7), angles))
    again = onto_grid(case.label, case.affine, shape, case.affine)
    assert np.array_equal(again, case.label)


@several
@given(sides(8, 16), SPACINGS, SPACINGS, ANGLES)
def test_resampling_keeps_the_outer_faces_and_the_middle(shape, old, new, angles) -> None:
    image = np.zeros(shape, np.float32)
    image[3:5, 3:6, 2:5] = 1000
    case = Case("a", "p", image, None, turned(old, angles), {})
    extent = np.multiply(shape, old)
    assume((extent / new > 3).all())
    assume(np.multiply(extent, 1 / np.array(new)).max() < 60)
    scaled = resample(case, new, 2)
    for corner in itertools.product(*[(0.0, 1.0)] * 3):
        before, after = (
            nib.affines.apply_affine(c.affine, np.multiply(corner, c.image.shape) - 0.5)
            for c in (case, scaled)
        )
        np.testing.assert_allclose(before, after, atol=1e-6)
    middles = [nib.affines.apply_affine(c.affine, center_of_mass(c.image)) for c in (case, scaled)]
    assert np.linalg.norm(middles[0] - middles[1]) < max(*old, *new)


@several
@given(SEEDS, sides(3, 9))
def test_a_case_of_the_right_voxels_is_not_resampled(seed, shape) -> None:
    case = case_of(seed, shape)
    assert resample(case, case.spacing, 3) is case


@several
@given(st.floats(0.5, 1.6), st.tuples(*[st.floats(-0.5, 0.5)] * 3))
def test_a_ball_keeps_its_volume_and_its_place(mm, shift) -> None:
    at = np.indices((25, 25, 25)) - 12 - np.array(shift)[:, None, None, None]
    label = ((at**2).sum(0) < 7.3**2).astype(np.uint8)
    case = Case("a", "p", label * np.int16(1000), label, np.eye(4), {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaled = resample(case, (mm, mm, mm), 2)
    volume = scaled.label.sum() * np.prod(scaled.spacing)
    assert volume == pytest.approx(float(label.sum()), rel=0.12)
    middle = nib.affines.apply_affine(scaled.affine, center_of_mass(scaled.label))
    assert np.linalg.norm(middle - center_of_mass(label)) < 0.5


@several
@given(SEEDS, st.floats(20, 90), st.floats(0.8, 3))
def test_cubes_of_hips_are_parts_of_their_scan(seed, size_mm, mm) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(-1000, 2000, (40, 24, 30)).astype(np.int16)
    label = np.zeros(image.shape, np.uint8)
    label[4:36, 8:16, 18:26] = 1
    label[6:12, 10:14, 4:22] = label[28:34, 10:14, 4:22] = 2
    case = Case("a", "p", image, label, np.diag([mm, mm, mm, 1.0]), {})
    for cube in crop_hips(case, size_mm).values():
        first = np.rint(np.linalg.solve(case.affine, cube.affine[:, 3])[:3]).astype(int)
        box = tuple(slice(f, f + n) for f, n in zip(first, cube.image.shape, strict=True))
        assert np.array_equal(cube.image, image[box])
        assert np.array_equal(cube.label, label[box])
        assert max(cube.image.shape) <= round(size_mm / mm)


@several
@given(SEEDS, sides(3, 8), st.floats(0, 1))
def test_components_are_only_taken_away(seed, shape, share) -> None:
    label = torch.from_numpy(case_of(seed, shape).label)[None]
    kept = remove_small_components(label, 3, share)
    assert ((kept == label) | (kept == 0)).all()
    assert torch.equal(remove_small_components(kept, 3, share), kept)
    for c in (1, 2):
        assert (kept == c).any() == (label == c).any()


@several
@given(st.lists(st.integers(0, 12), min_size=1, max_size=30), st.integers(0, 12), SEEDS)
def test_no_patient_is_in_two_parts(owners, bare, seed) -> None:
    labelled = {f"scan{i}": f"p{owner}" for i, owner in enumerate(owners)}
    unlabelled = {f"bare{i}": f"p{i}" for i in range(bare)}
    if len(set(owners)) < 3:
        with pytest.raises(DataError):
            make_split(labelled, unlabelled, seed=seed)
        return
    split = make_split(labelled, unlabelled, seed=seed)
    split.check(labelled | unlabelled, "here")
    assert all(getattr(split, part) for part in PARTS if part != "unlabelled")
    assert {*split.labelled, *split.validation, *split.test} == set(labelled)
    assert split == make_split(dict(reversed(labelled.items())), unlabelled, seed=seed)
    assert replace(split) == split
