"""The two hips of a pelvis: found by labels or by bone, and cut out on the right side."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import apply_affine
from toy_pelvis import ball, pelvis

from ssltut.data import crop_hips as hips
from ssltut.data.case import Case
from ssltut.data.crop_hips import crop_hips
from ssltut.errors import DataError
from ssltut.io.nifti import read_case
from ssltut.io.public import CT, EXAMPLE, SEGMENTATION, read_totalsegmentator_example

AFFINE = np.array([[2, 0, 0, -40], [0, 2, 0, -30], [0, 0, 4, -100], [0, 0, 0, 1.0]])


def two_femurs() -> Case:
    """Two femurs of 30 mm in x under hip bones that touch in the middle.

    The right one (larger x in RAS+) holds HU 700.
    """
    image, label = np.zeros((80, 40, 50), np.int16), np.zeros((80, 40, 50), np.uint8)
    label[15:66, 15:25, 25:40] = 1
    label[5:20, 15:25, :30] = label[60:75, 15:25, :30] = 2
    image[60:75, 15:25, :30] = 700
    return Case("p", "p", image, label, AFFINE, {"modality": "CT"})


def test_hips_are_cut_where_they_lie() -> None:
    case = two_femurs()
    cut = crop_hips(case, 40)
    assert list(cut) == ["left", "right"]
    assert [h.id for h in cut.values()] == ["p-left", "p-right"]
    assert cut["right"].image.max() == 700
    assert cut["left"].image.max() == 0
    for hip in cut.values():
        assert hip.image.shape == (20, 20, 10)
        assert hip.spacing == case.spacing
        low = np.linalg.solve(AFFINE, hip.affine[:, 3])[:3].astype(int)
        box = tuple(slice(a, a + n) for a, n in zip(low, hip.image.shape, strict=True))
        assert np.array_equal(hip.label, case.label[box])
        assert np.array_equal(hip.affine[:3, 3], AFFINE[:3, :3] @ low + AFFINE[:3, 3])
        heads = hip.affine @ np.append(np.argwhere(hip.label == 2).mean(axis=0), 1)
        assert abs(heads[0] - {"left": -16, "right": 94}[hip.meta["side"]]) < 6
    assert crop_hips(case, 1000)["left"].image.shape == case.image.shape


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (None, "no hip joint was found on the left"),
        (np.zeros((80, 40, 50), np.uint8), "without a label of the hip bone"),
        (
            np.where(np.arange(80)[:, None, None] > 50, two_femurs().label, two_femurs().label % 2),
            "no femur on the left",
        ),
    ],
)
def test_hips_that_cannot_be_found(label: np.ndarray | None, words: str) -> None:
    with pytest.raises(DataError, match=words):
        crop_hips(replace(two_femurs(), label=label))


def test_hips_are_found_with_and_without_labels() -> None:
    case = pelvis()
    by_label, by_bone = crop_hips(case, 120), crop_hips(case.without_label(), 120)
    for side, x in (("left", 55), ("right", 225)):
        assert (by_label[side].meta["found by"], by_bone[side].meta["found by"]) == (
            "labels",
            "bone",
        )
        assert by_bone[side].label is None
        centres = [
            apply_affine(c.affine, (np.array(c.image.shape) - 1) / 2)
            for c in (by_label[side], by_bone[side])
        ]
        assert abs(centres[0][0] - (x - 140)) < 20
        assert np.linalg.norm(centres[0] - centres[1]) < 25
    assert (
        apply_affine(by_bone["right"].affine, (0, 0, 0))[0]
        > 0
        > apply_affine(by_bone["left"].affine, (0, 0, 0))[0]
    )


def test_what_is_no_hip_joint_is_not_taken_for_one() -> None:
    case = pelvis()
    soft = np.where(
        ball(case.image.shape, np.array(case.spacing), (60, 80, 80), 40), 220, 40
    ).astype(np.int16)  # a kidney full of contrast medium
    soft[40:50, 20:30, 20:30] = 700
    for image in (soft, np.full(case.image.shape, -1000, np.int16)):
        with pytest.raises(DataError, match="no hip joint was found on the left side"):
            crop_hips(Case("k", "k", image, None, case.affine))


def test_real_hips_without_labels(shared: Path) -> None:

    case = read_totalsegmentator_example(shared / EXAMPLE)
    by_label, by_bone = hips._by_label(case), hips._by_bone(case.without_label())
    assert all(
        np.linalg.norm((by_label[side] - by_bone[side]) * 3) < 10 for side in ("left", "right")
    )


def test_real_hips_are_cut_on_their_own_side(shared: Path) -> None:
    folder = shared / EXAMPLE
    cut = crop_hips(read_totalsegmentator_example(folder))
    raw = read_case(folder / CT, folder / SEGMENTATION)
    for side, value in (("left", 75), ("right", 76)):  # femur_left, femur_right
        own = (raw.affine @ np.append(np.argwhere(raw.label == value).mean(axis=0), 1))[0]
        femur = np.argwhere(cut[side].label == 2)
        assert abs((cut[side].affine @ np.append(femur.mean(axis=0), 1))[0] - own) < 3
        assert max(cut[side].image.shape) * 3 <= 162
    assert cut["left"].image.max() > 3000 > cut["right"].image.max()  # the nail
