"""Shapes recovered from masks, masks repaired by them, and mirrors through them."""

import numpy as np
import pytest
from toy import hips

from ssltut.methods.further.shapes import (
    Mirror,
    find_shape,
    fit_shape,
    mirror_through,
    pieces,
    regularity,
    repair,
    repair_mask,
    surface_points,
)
from ssltut.methods.registry import make_method


def half_axes(shape):
    """Half the length of each axis, longest first, (D,)."""
    return np.linalg.eigvalsh(shape.matrix) ** -0.5


def ellipse(size, centre, axes, turn=None):
    """d² of every voxel of a known ellipse or ellipsoid, from its definition."""
    turn = np.eye(len(size)) if turn is None else turn
    x = (np.moveaxis(np.indices(size, float), 0, -1) - centre) @ turn
    return ((x / axes) ** 2).sum(-1)


def rotation(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


@pytest.mark.parametrize("degrees", [0, 30, 75])
def test_an_ellipse_is_recovered_from_its_mask(degrees):
    truth = ellipse((48, 40), (22.3, 18.7), (14.0, 8.5), rotation(degrees))
    found = find_shape(truth <= 1, False, 0.0, 0.9)
    assert found.centre == pytest.approx([22.3, 18.7], abs=0.15)
    assert half_axes(found) == pytest.approx([14.0, 8.5], abs=0.25)
    assert abs(mirror_through([found]).normal @ rotation(degrees)[:, 1]) == pytest.approx(
        1.0, abs=2e-3
    )  # across the short axis


@pytest.mark.parametrize("cut", [0, 8])
def test_a_sphere_is_recovered_even_where_the_patch_cuts_it(cut):
    mask = (ellipse((32, 32, 32), (15.2, 16.4, 14.9), (10.0,) * 3) <= 1)[cut:]
    found = find_shape(mask, True, 0.0, 0.9)
    assert found.centre == pytest.approx([15.2 - cut, 16.4, 14.9], abs=0.1)
    assert half_axes(found) == pytest.approx([10.0] * 3, abs=0.1)


def test_an_ellipsoid_is_recovered():
    found = find_shape(
        ellipse((36, 32, 28), (17.1, 15.6, 13.3), (14.0, 10.0, 7.0)) <= 1, False, 0.0, 0.9
    )
    assert found.centre == pytest.approx([17.1, 15.6, 13.3], abs=0.1)
    assert half_axes(found) == pytest.approx([14.0, 10.0, 7.0], abs=0.2)


def test_points_on_a_shape_give_it_exactly():
    angle = np.linspace(0, 6, 9)
    points = np.stack([3 + 5 * np.cos(angle), -2 + 2 * np.sin(angle)], 1)
    assert fit_shape(points).centre == pytest.approx([3, -2])
    assert fit_shape(points).matrix == pytest.approx(np.diag([1 / 25, 1 / 4]))
    circle = fit_shape(np.stack([3 + 5 * np.cos(angle), -2 + 5 * np.sin(angle)], 1), sphere=True)
    assert circle.centre == pytest.approx([3, -2])
    assert circle.matrix == pytest.approx(np.eye(2) / 25)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((0, 2)),
        np.zeros((9, 2)),
        np.array([[0.0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6]]),
        np.array([[x, x**2 / 4.0] for x in range(-6, 7)]),
        np.array([[x, 1 / x] for x in (-3, -2, -1, 1, 2, 3, 4.0)]),
    ],
)
def test_no_ellipse_is_found_in_nothing_a_point_a_line_a_parabola_or_a_hyperbola(points):
    assert fit_shape(points) is None


def test_a_mask_that_is_no_ellipse_is_refused_and_one_that_is_is_not():
    cross = np.zeros((40, 40), bool)
    cross[18:22, 2:38] = cross[2:38, 18:22] = True
    assert find_shape(cross, False, 0.0, 0.8) is None
    assert find_shape(ellipse((40, 40), (20, 20), (9, 6)) <= 1, False, 0.0, 0.8) is not None
    assert find_shape(np.zeros((8, 8), bool), False, 0.0, 0.8) is None
    assert find_shape(np.ones((8, 8), bool), False, 1.25, 0.8) is None


def test_the_head_is_found_on_its_femur():
    head = ellipse((40, 40, 40), (26.0, 20.0, 28.0), (9.0,) * 3) <= 1
    x, y, z = np.indices((40, 40, 40))
    neck = ((x - z + 2) ** 2 / 2 + (y - 20) ** 2 <= 25) & (
        x < 24
    )  # a rod towards the centre of the head
    assert find_shape(head | neck, True, 0.0, 0.8) is None
    found = find_shape(head | neck, True, 1.25, 0.8)
    assert found.centre == pytest.approx([26.0, 20.0, 28.0], abs=0.7)
    assert half_axes(found)[0] == pytest.approx(9.0, abs=0.4)


def test_the_repaired_mask_by_hand():
    p, squared = np.array([0.1, 0.1, 0.9, 0.99, 0.7, 0.7]), np.array([0.0, 1.0, 1.5, 2.5, 1.2, 1.5])
    # 1.6 -> 1; 0.6 on the surface; 0.9 e^-.25 = .70; .99 e^-.75 = .47; .7 e^-.1 = .63; .7 e^-.25 =
    # .55
    assert repair_mask(p, squared, 0.0).tolist() == [True, True, True, False, True, False]
    assert repair_mask(p, squared, 1.2).tolist() == [
        True,
        True,
        True,
        True,
        True,
        True,
    ]  # beyond 1.2 radii (d² > 1.44) the teacher's own


def test_the_mirror_of_a_point_by_hand():
    partner, left = Mirror(np.array([1.5, 0.0]), np.array([1.0, 0.0])).partners((4, 2))
    assert partner[0, 1].tolist() == [3.0, 1.0]
    assert partner[2, 0].tolist() == [1.0, 0.0]
    assert left[:, 0].tolist() == [True, True, False, False]
    tilted = Mirror(np.zeros(2), np.array([1.0, -1.0]) / 2**0.5).partners((3, 3))[0]
    assert np.allclose(tilted[2, 1], [1, 2])  # across the diagonal the coordinates change places


def test_two_heads_give_the_middle_plane_and_heads_above_each_other_do_not():
    both = (
        np.minimum(
            ellipse((40, 20, 20), (8.0, 10.0, 9.0), (6.0,) * 3),
            ellipse((40, 20, 20), (31.0, 10.0, 10.0), (5.0,) * 3),
        )
        <= 1
    )
    heads = [find_shape(piece, True, 0.0, 0.8) for piece in pieces(both, 2)]
    mirror = mirror_through(heads)
    assert mirror.point == pytest.approx([19.5, 10.0, 9.5], abs=0.1)
    assert mirror.normal[0] > 0.99
    assert half_axes(heads[0])[0] > half_axes(heads[1])[0]  # the largest piece first
    assert mirror_through([h._replace(centre=np.roll(h.centre, 1)) for h in heads]) is None


def test_regularity_ranks_a_disc_before_a_ragged_mask_and_knows_what_it_cannot_rank():
    disc = (ellipse((32, 32), (16, 16), (9, 7)) <= 1).astype(float)
    ragged = np.where(np.random.default_rng(0).random((32, 32)) < 0.2, 1 - disc, disc)
    assert regularity(disc) < regularity(ragged)
    assert regularity(disc * 0.4) is None
    assert regularity(np.ones((4, 4))) is None


@pytest.mark.parametrize("size", [(6, 6), (6, 6, 6)])
def test_regularity_by_hand_on_slices_and_in_3d(size):
    step = np.zeros(size)
    step[3:] = 1.0
    # the gradient is 1/2 a voxel on the two rows at the edge; distances 3 2 1 0 0 0: Laplacian -1
    # on the first row, whose border is reflected, and 1 on the row behind the edge
    assert regularity(step) == pytest.approx((0.5 * 2 / 6 + 2 / 6) / 2)
    narrow = np.zeros(size)
    narrow[2:4] = 0.6  # distances 2 1 0 0 1 2
    assert regularity(narrow) == pytest.approx((0.3 * 4 / 6 + 4 / 6) / 2)


def test_points_on_two_crossing_lines_have_no_ellipse_and_raise_no_warning(recwarn):
    assert fit_shape(np.array([[3.0, 3.0], [0.0, 1.0], [1.0, 1.0], [3.0, 0.0], [3.0, 1.0]])) is None
    assert not recwarn.list
    circle = np.array([[np.cos(t), np.sin(t)] for t in range(6)])
    assert fit_shape(circle) is not None
    assert not recwarn.list


def test_surface_points_lie_between_voxels_and_not_on_the_border():
    mask = np.zeros((4, 3), bool)
    mask[:2] = True
    assert surface_points(mask).tolist() == [[1.5, 0], [1.5, 1], [1.5, 2]]


def test_the_heads_of_synthetic_femurs_are_found_and_two_hips_have_a_plane_between_them():
    cases = {}
    method = make_method("ersr", {"shape": "sphere", "mirror": "sagittal", "reach": 1.25})
    for case in hips().training("labelled"):
        head = find_shape(pieces(case.label == 2, 1)[0], True, 1.25, 0.8)
        assert half_axes(head)[0] * case.spacing[0] == pytest.approx(
            case.meta["anatomy"]["head_radius"], abs=0.5
        )  # mm, voxels of 5 mm
        cases[case.meta["anatomy"]["side"]] = head, case.label == 2
    both = np.concatenate(
        [cases[side][1] for side in ("left", "right")]
    )  # in RAS+ the first index grows to the right
    p = both.astype(np.float32)
    mask, _, left, partner = repair(p, method.shapes(p), method.reach)
    middle = (cases["left"][0].centre + cases["right"][0].centre + [32, 0, 0]) / 2
    assert left[:29].all()
    assert not left[34:].any()
    assert middle[0] == pytest.approx(31.5, abs=2)
    assert (mask & both).sum() > 0.95 * both.sum()
    one = np.concatenate([p[:32], 0 * p[:32]])
    assert repair(one, method.shapes(one), method.reach) is None
    assert np.allclose(
        (partner[tuple(np.round(middle).astype(int))] + np.round(middle)) / 2, middle, atol=0.6
    )
