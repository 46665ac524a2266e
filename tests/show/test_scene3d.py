"""Surfaces and matches in three dimensions, in mm."""

import numpy as np
import pytest

from ssltut import show
from ssltut.data.labels import HIP
from ssltut.errors import ConfigError


@pytest.mark.parametrize("max_faces", [10**6, 3000])
def test_surface_of_a_ball_has_its_radius_in_mm(max_faces):
    spacing, centre = np.array([0.8, 1.0, 2.5]), np.array([33.0, 30.0, 40.0])
    mm = np.stack(
        np.meshgrid(
            *[np.arange(n) * s for n, s in zip((80, 60, 32), spacing, strict=False)], indexing="ij"
        ),
        -1,
    )
    label = (np.linalg.norm(mm - centre, axis=-1) < 24).astype(np.uint8)
    mesh = show.surface(label, 1, spacing=spacing, max_faces=max_faces)
    assert np.linalg.norm(mesh.vertices - centre, axis=1).mean() == pytest.approx(24, rel=0.03)
    assert len(mesh.faces) < 1.5 * max_faces
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    enclosed = abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6
    assert enclosed == pytest.approx(
        4 / 3 * np.pi * 24**3, rel=0.03
    )  # closed, also where the scan cuts it


def test_surface_follows_the_affine_and_the_table(ball):
    affine = np.array([[0, -1.5, 0, 7], [1.0, 0, 0, -20], [0, 0, 3.0, 100], [0, 0, 0, 1]])
    plain, placed = (
        show.surface(ball.label, 2, spacing=ball.spacing),
        show.surface(ball.label, 2, affine=affine, table=HIP),
    )
    expected = np.c_[
        -plain.vertices[:, 1] + 7, plain.vertices[:, 0] - 20, plain.vertices[:, 2] + 100
    ]
    assert placed.vertices == pytest.approx(expected, abs=1e-4)
    assert (placed.colour, placed.name) == (HIP.colours[2], "femur")


def test_surface_refuses_a_missing_class_and_missing_geometry(ball):
    with pytest.raises(ConfigError, match=r"no voxel of the label has the value 7.*\[0, 1, 2\]"):
        show.surface(ball.label, 7, spacing=ball.spacing)
    for geometry in ({}, {"spacing": ball.spacing, "affine": np.eye(4)}):
        with pytest.raises(ConfigError, match="its geometry, once"):
            show.surface(ball.label, 1, **geometry)


@pytest.mark.parametrize("agree", [[True, False, True, True, False], [True] * 5, [False] * 5])
def test_correspondences_are_segments_in_two_styles(ball, lab, agree):
    mesh = show.surface(ball.label, 1, spacing=ball.spacing)
    a, agree = np.arange(15.0).reshape(5, 3), np.array(agree)
    figure = show.correspondences(
        mesh,
        [mesh, show.surface(ball.label, 2, spacing=ball.spacing)],
        a,
        a + 1,
        agree,
        alt="matches",
    )
    assert [t.type for t in figure.data] == ["mesh3d"] * 3 + ["scatter3d"] * 3
    right, wrong = figure.data[3:5]
    for trace, keep in ((right, agree), (wrong, ~agree)):
        path = np.stack([trace.x, trace.y, trace.z], -1).reshape(-1, 3, 3)  # start, end, break
        assert len(path) == keep.sum()
        assert f"({keep.sum()})" in trace.name
        assert np.isnan(path[:, 2]).all()
        assert np.isfinite(path[:, :2]).all()
        shift = path[:, 0] - a[keep]
        assert np.ptp(shift, axis=0) == pytest.approx(0, abs=1e-4) if len(path) else True
    assert right.line.color != wrong.line.color
    assert right.line.width != wrong.line.width
    assert right.marker.symbol != wrong.marker.symbol
    left, other = (np.asarray(figure.data[k].x) for k in (0, 1))
    assert (
        other.max() < left.min()
    )  # beside each other: seen from the front, x runs to the viewer's left


def test_correspondences_refuse_points_that_do_not_pair_up(ball):
    mesh = show.surface(ball.label, 1, spacing=ball.spacing)
    with pytest.raises(ConfigError, match="3 points, 2 matches and 3 marks"):
        show.correspondences(mesh, mesh, np.ones((3, 3)), np.ones((2, 3)), [1, 1, 1], alt="matches")
