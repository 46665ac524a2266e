"""The synthetic hip: reproducible, exact, and its parameters can be measured in its labels."""

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import ndimage

from ssltut.errors import ConfigError
from ssltut.synthetic import shapes
from ssltut.synthetic.anatomy import RANGES, Anatomy, Pathology, Scanner, draw, draw_pathology
from ssltut.synthetic.bones import cup_of, neck_axis
from ssltut.synthetic.hip import make_case
from ssltut.synthetic.scanner import metal_streaks, quantum_noise
from ssltut.synthetic.shapes import ball, capsule, ellipsoid, occupancy, rotation, smooth_union

HEALTHY = Pathology()


def grid(n: int = 33, half: float = 16.0) -> np.ndarray:
    steps = np.linspace(-half, half, n, dtype=np.float32)
    return np.stack(np.meshgrid(steps, steps, steps, indexing="ij"))


def fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Least squares: |x|^2 = 2 c.x + (r^2 - |c|^2)."""
    a = np.hstack([2 * points, np.ones((len(points), 1))])
    solution = np.linalg.lstsq(a, (points**2).sum(1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))


def head_surface(case, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (mm) of the femoral head's surface, and its rough centre, found from the label alone.

    They lie on the half of the head away from the neck.
    """
    femur = case.label == 2
    spacing = case.spacing[0]
    depth = ndimage.distance_transform_edt(femur, sampling=spacing)
    depth[:, :, : int(case.label.shape[2] * 0.4)] = 0  # the shaft is thick too
    centre = np.array(np.unravel_index(depth.argmax(), depth.shape)) * spacing
    points = np.argwhere(femur & ~ndimage.binary_erosion(femur)) * spacing
    other = np.argwhere(case.label == 1) * spacing
    near = np.linalg.norm(points - centre, axis=1) < 1.25 * radius
    # The articular side faces the hip bone.
    facing = (points - centre) @ (
        other[np.linalg.norm(other - centre, axis=1) < 2.2 * radius].mean(0) - centre
    ) > 0
    return points[near & facing], centre


@pytest.mark.parametrize("radius", [20.5, 24.0, 26.5])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_sphere_fitted_to_the_head_has_its_radius_within_five_percent(seed, radius):
    case = make_case(
        seed, size=60, spacing=5 / 3, anatomy={"head_radius": radius}, pathology=HEALTHY
    )
    points, _ = head_surface(case, radius)
    # Voxels inside the surface lie half a voxel within it on average.
    assert fit_sphere(points)[1] + case.spacing[0] / 2 == pytest.approx(radius, rel=0.05)


def test_the_joint_space_is_the_smallest_gap_between_the_bones():
    for gap in (2.5, 4.5):
        case = make_case(5, size=64, spacing=1.25, anatomy={"joint_space": gap}, pathology=HEALTHY)
        distance = ndimage.distance_transform_edt(case.label != 1, sampling=case.spacing)
        assert distance[case.label == 2].min() == pytest.approx(gap, abs=1.3 * case.spacing[0])


def test_the_neck_shaft_angle_and_anteversion_are_in_the_neck_axis():
    a = Anatomy(neck_shaft_angle=131.0, anteversion=12.0)
    axis = neck_axis(a)
    assert np.degrees(np.arccos(axis @ [0, 0, -1.0])) == pytest.approx(
        131.0
    )  # with the shaft, which runs down
    assert np.degrees(np.arctan2(axis[1], -axis[0])) == pytest.approx(12.0)
    assert np.linalg.norm(axis) == pytest.approx(1.0)


def test_the_rim_of_the_cup_lies_at_the_centre_edge_angle():
    a = Anatomy(centre_edge_angle=31.0)
    cup = cup_of(a, HEALTHY)
    angles = np.radians(np.linspace(-10, 80, 2000))
    directions = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], 1)
    inside = directions @ cup.normal * cup.radius <= cup.depth  # bone covers the head here
    assert np.degrees(angles[inside].max()) == pytest.approx(31.0, abs=0.1)


def test_dysplasia_uncovers_the_head_and_arthritis_narrows_the_joint():
    a = Anatomy()
    ill = Pathology(dysplasia=1.0).applied_to(a)
    assert ill.centre_edge_angle < 20 < a.centre_edge_angle
    assert ill.neck_shaft_angle > a.neck_shaft_angle
    assert Pathology(osteoarthritis=1.0).applied_to(a).joint_space < 1.0
    assert HEALTHY.applied_to(a) == a
    thin = Pathology(osteoporosis=1.0).applied_to(a)
    assert thin.trabecular_hu < 0.5 * a.trabecular_hu
    assert thin.cortex_shaft < a.cortex_shaft


def test_the_same_arguments_give_the_same_bits():
    first, second, other = make_case(3, size=32), make_case(3, size=32), make_case(4, size=32)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.label, second.label)
    assert first.meta == second.meta
    assert not np.array_equal(first.image, other.image)
    assert first.image.dtype == np.int16
    assert first.label.dtype == np.uint8
    assert first.affine[0, 0] == 160 / 32


def test_a_set_parameter_leaves_the_other_draws_alone():
    free, fixed = make_case(3, size=32), make_case(3, size=32, anatomy={"joint_space": 3.0})
    assert fixed.meta["anatomy"] == free.meta["anatomy"] | {"joint_space": 3.0}
    assert fixed.meta["scanner"] == free.meta["scanner"]


def test_a_left_hip_is_the_mirror_of_a_right_one():
    label = {
        side: make_case(3, size=32, anatomy={"side": side}, pathology=HEALTHY).label
        for side in ("left", "right")
    }
    assert np.array_equal(label["left"], label["right"][::-1])


def test_every_scan_has_both_bones_and_tissue_of_the_right_hu():
    for seed in range(6):
        case = make_case(
            seed, size=48, pathology_rate=1.0, scanner=Scanner(noise=0.0, hu_shift=0.0, hu_gain=1.0)
        )
        counts = np.bincount(case.label.ravel(), minlength=3) / case.label.size
        assert set(np.unique(case.label)) == {0, 1, 2}
        assert 0.01 < counts[1] < 0.12
        assert 0.01 < counts[2] < 0.12
        assert case.image[case.label > 0].mean() > 150
        assert case.image.min() < -900
        assert 0.0 <= case.meta["difficulty"] <= 1.0
    assert np.mean((case.image > -130) & (case.image < -60)) > 0.15
    assert np.mean((case.image > 20) & (case.image < 90)) > 0.1


def test_metal_is_bright_and_darkens_what_lies_between():
    plain, metal = (
        make_case(2, size=48, pathology=Pathology(implant=on), scanner=Scanner(noise=0.0))
        for on in (False, True)
    )
    change = metal.image.astype(int) - plain.image
    assert (metal.image > 2500).sum() > 50
    assert change[metal.image < 2500].min() < -150
    assert np.array_equal(plain.label, metal.label)  # the bone that holds the metal keeps its label
    share = np.zeros((24, 24, 24), np.float32)
    assert not metal_streaks(share, share, 3.0, np.random.default_rng(0)).any()


def test_harder_scans_have_a_higher_difficulty():
    easy = make_case(1, size=32, pathology=HEALTHY, scanner=Scanner(noise=12.0)).meta["difficulty"]
    assert (
        easy
        < make_case(1, size=32, pathology=HEALTHY, scanner=Scanner(noise=45.0)).meta["difficulty"]
    )
    assert (
        easy
        < make_case(
            1, size=32, pathology=Pathology(osteoarthritis=0.8), scanner=Scanner(noise=12.0)
        ).meta["difficulty"]
    )


def test_noise_has_its_spectrum_and_standard_deviation():
    noise = quantum_noise((64, 64, 24), 1.0, Scanner(fwhm_plane=1.0), np.random.default_rng(0))
    power = np.square(np.abs(np.fft.fft2(noise, axes=(0, 1)))).mean(-1)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    low, middle = (
        power[(frequency > 0) & (frequency < 0.06)].mean(),
        power[(frequency > 0.2) & (frequency < 0.4)].mean(),
    )
    assert noise.std() == pytest.approx(1.0)
    assert middle > 1.5 * low


def test_distances_are_exact_where_they_should_be():
    p = grid()
    centre = (16, 16, 16)
    assert ball(p, (0, 0, 3), 5.0)[centre] == pytest.approx(-2.0)
    assert ellipsoid(p, (0, 0, 0), (8, 5, 3))[24, 16, 16] == pytest.approx(0.0, abs=1e-5)
    assert capsule(p, (0, 0, 0), (10, 0, 0), 2.0, 4.0)[21, 16, 20] == pytest.approx(
        1.0
    )  # half way: radius 3, 4 mm off the axis
    for apart, grows in (
        (9, False),
        (4.5, True),
    ):  # the surfaces are 10 mm and 1 mm apart, the blend reaches 4 mm
        two = [ball(p, (x, 0, 0), 4.0) for x in (apart, -apart)]
        assert ((smooth_union(4.0, *two) < 0).sum() > (np.minimum(*two) < 0).sum()) == grows
    assert occupancy(np.array([-5.0, 0.0, 5.0]), 2.0).tolist() == [1.0, 0.5, 0.0]
    assert np.allclose(rotation(2, 90.0) @ [1, 0, 0], [0, 1, 0])


def test_every_parameter_has_a_range_a_unit_and_a_source():
    drawn = [f.name for kind in (Anatomy, Scanner) for f in fields(kind) if f.name != "side"]
    assert sorted(drawn) == sorted(RANGES)
    assert all(r.low < r.high and r.source for r in RANGES.values())
    for kind in (Anatomy, Scanner):
        found = draw(kind, np.random.default_rng(0))
        assert all(
            RANGES[f.name].low <= getattr(found, f.name) <= RANGES[f.name].high
            for f in fields(kind)
            if f.name != "side"
        )
        assert all(
            RANGES[f.name].low <= getattr(kind(), f.name) <= RANGES[f.name].high
            for f in fields(kind)
            if f.name != "side"
        )


def test_illness_comes_at_its_rate():
    rng = np.random.default_rng(0)
    assert all(draw_pathology(rng, 0.0) == HEALTHY for _ in range(20))
    assert all(draw_pathology(rng, 1.0) != HEALTHY for _ in range(20))
    ill = np.mean([draw_pathology(rng, 0.5) != HEALTHY for _ in range(600)])
    assert ill == pytest.approx(0.5, abs=0.07)


def test_wrong_requests_are_refused():
    with pytest.raises(ConfigError, match="at least 16"):
        make_case(0, size=8)
    with pytest.raises(ConfigError, match="no parameter hed_radius"):
        make_case(0, size=16, anatomy={"hed_radius": 20.0})
    with pytest.raises(ConfigError, match="severity from 0 to 1"):
        replace(HEALTHY, dysplasia=1.5)
    assert make_case(0, size=16, spacing=4.0).spacing == (4.0, 4.0, 4.0)


@pytest.mark.parametrize("slab", [1, 700, 2**30])
def test_a_scan_is_the_same_however_thick_the_slabs_are(monkeypatch, slab):
    expected = make_case(3, size=24, pathology=Pathology(osteoarthritis=0.7))
    monkeypatch.setattr(shapes, "SLAB", slab)
    found = make_case(3, size=24, pathology=Pathology(osteoarthritis=0.7))
    assert np.array_equal(found.image, expected.image)
    assert np.array_equal(found.label, expected.label)
