"""Surfaces and matches in three dimensions, in mm."""

from types import SimpleNamespace

import numpy as np
import pytest
from ipywidgets import Widget

from ssltut import show
from ssltut.data.labels import HIP
from ssltut.errors import ConfigError
from ssltut.show.live.scene3d import traces
from ssltut.show.static.scene3d import answered_surface, arrange_matches, matches_figure


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
        with pytest.raises(ConfigError, match="spacing or affine, not both"):
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


def cap(ball):
    """The lower half of the ball is class 2; an answer calls its right part class 1."""
    right = np.arange(30)[:, None, None] < 12
    return np.where((ball.label == 2) & right, 1, ball.label).astype(np.uint8)


def surface_view(ball, **more):
    given = {"class_id": 2, "spacing": ball.spacing, "table": HIP, "alt": "half a ball"}
    return show.explore_surface(ball.label, cap(ball), ball.heat, **given | more)


def test_a_surface_has_the_colours_of_the_answers_beneath_it(ball):
    found = answered_surface(ball.label, cap(ball), 2, ball.spacing, HIP)
    at = tuple(found.voxels.T)
    assert (ball.label[at] == 2).all()
    assert (found.said == cap(ball)[at]).all()
    assert found.vertices[found.said == 1, 0].max() < found.vertices[found.said == 2, 0].max()
    assert [mesh.name for mesh in found.drawn.meshes] == ["answer: hip bone", "answer: femur"]
    assert [mesh.colour for mesh in found.drawn.meshes] == list(HIP.colours[1:])
    ((text, place),) = found.drawn.captions
    assert text == "“hip bone”"
    assert place[0] < found.vertices[:, 0].min() - 2  # beside the bone, on the patch's side
    assert place[2] == pytest.approx(found.vertices[found.said == 1, 2].mean(), abs=0.1)
    whole = answered_surface(ball.label, ball.label, 2, ball.spacing, HIP)
    assert whole.drawn.captions == []
    thin = np.zeros((9, 9, 9), np.uint8)
    thin[4, 2:7, 2:7] = 1  # nothing is left of it one voxel beneath
    assert set(answered_surface(thin, thin, 1, (1, 1, 1), HIP).said) == {1}


def test_the_key_names_no_answer_that_nobody_finds(ball):
    answer = cap(ball)
    few = np.argwhere(answer == 2)[:2]
    answer[tuple(few.T)] = 0
    drawn = answered_surface(ball.label, answer, 2, ball.spacing, HIP).drawn
    key = matches_figure(drawn).axes[0].get_legend()
    expected = ["answer: hip bone", "answer: femur"]
    assert [text.get_text() for text in key.get_texts()] == expected
    assert [trace.name for trace in traces(drawn) if trace.showlegend] == expected
    assert "" not in [trace.name for trace in traces(drawn)]


def test_a_click_on_a_surface_says_truth_teacher_and_entropy(ball, lab):
    view = surface_view(ball, title="Who is right?")
    scene = view.scene
    vertex = int(np.flatnonzero(scene.said == 1)[0])
    mesh = view.plot.data[0]
    assert (mesh.type, mesh.hoverinfo, mesh.opacity) == ("mesh3d", "none", 1.0)
    mesh._click_callbacks[0](mesh, SimpleNamespace(point_inds=[vertex]), None)
    assert view.point.value == vertex
    at = tuple(map(int, scene.voxels[vertex]))
    words = view.answer.value
    assert f"voxel {at}" in words
    assert "<b>femur</b></td>" in words
    assert "<b>hip bone</b> &#10007; wrong" in words
    assert f"<b>{ball.heat[at]:.2f}</b>, at most {ball.heat.max():.2f}" in words
    mark = np.array([view.plot.data[-1][axis][0] for axis in "xyz"])
    assert np.linalg.norm(mark - scene.vertices[vertex]) < 2
    mesh._click_callbacks[0](mesh, SimpleNamespace(point_inds=[]), None)
    assert view.point.value == vertex


def test_a_surface_is_a_picture_elsewhere_and_refuses_other_grids(ball, monkeypatch):
    for frontend in ("colab", "static"):
        monkeypatch.setenv("SSLTUT_FRONTEND", frontend)
        assert isinstance(surface_view(ball), show.Picture)
    with pytest.raises(ConfigError, match="answer has shape"):
        show.explore_surface(
            ball.label,
            cap(ball)[1:],
            ball.heat,
            class_id=2,
            spacing=ball.spacing,
            table=HIP,
            alt="a",
        )
    with pytest.raises(ConfigError, match="no voxel of the label has the value 7"):
        surface_view(ball, class_id=7)


def test_a_plotly_figure_is_sent_when_it_is_complete(ball, lab, monkeypatch):
    states, opened = [], Widget.open

    def counted(self):
        if hasattr(self, "_widget_data"):
            states.append(len(self._widget_data or ()))
        opened(self)

    monkeypatch.setattr(Widget, "open", counted)
    view = surface_view(ball)
    assert states == [len(view.plot.data)] == [4]
    assert view.plot.model_id


def test_a_key_names_no_line_that_is_not_there(ball, lab):
    mesh, points = show.surface(ball.label, 1, spacing=ball.spacing), np.ones((2, 3))
    figure = show.correspondences(mesh, mesh, points, points, [1, 1], alt="all right")
    assert [t.showlegend for t in figure.data[2:4]] == [True, False]
    sides = [[mesh], [mesh]]
    scene = arrange_matches(sides, points, points, np.ones(2, bool), ("a", "b"), ("right", "wrong"))
    key = matches_figure(scene).axes[0].get_legend()
    assert [text.get_text() for text in key.get_texts()] == ["right (2)"]


@pytest.mark.parametrize("shows", ["brightest value", "largest entropy (nats)"])
def test_the_picture_of_a_volume_says_what_it_shows(ball, monkeypatch, shows):
    figures = []
    monkeypatch.setattr(
        "ssltut.show.live.volume.picture",
        lambda fig, alt, title: figures.append(fig) or show.Picture(b"", alt),
    )
    monkeypatch.setenv("SSLTUT_FRONTEND", "static")
    show.volume(ball.heat, spacing=ball.spacing, alt="a ball", shows=shows)
    assert figures[0].axes[0].get_title(loc="left") == f"{shows} from front to back"
