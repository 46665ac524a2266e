"""The correspondence explorer: its arithmetic against hand-made vectors, its controls by their
traits, its fallbacks by force.
"""

import base64
import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from ssltut import show
from ssltut.data.labels import HIP
from ssltut.errors import ConfigError
from ssltut.methods.matching.primitives import KERNELS, similarity
from ssltut.show.static.matches import (
    EmbeddedScan,
    MatchFinder,
    Question,
    line_names,
)

SPACING = (2.0, 2.0, 3.0)
AT = (4, 5, 6)


def scan(seed: int, **more: object) -> dict[str, object]:
    """Two boxes of classes 1 and 2; a voxel's embedding is its class on three axes, and a little
    noise.
    """
    label = np.zeros((14, 12, 10), np.uint8)
    label[3:8, 3:9, 2:9], label[8:12, 3:9, 2:9] = 1, 2
    noise = torch.Generator().manual_seed(seed)
    embedding = torch.eye(3)[torch.as_tensor(label.astype(np.int64))].movedim(
        -1, 0
    ) + 0.1 * torch.randn(3, *label.shape, generator=noise)
    return {
        "image": label * 300.0,
        "spacing": SPACING,
        "embedding": embedding,
        "label": label,
    } | more


def explorer(**more: object) -> object:
    target = scan(0, answer=np.roll(scan(0)["label"], 1, 0), heat=np.ones((14, 12, 10)))
    return show.explore_matches(
        target,
        {"one": scan(1), "two": scan(2)},
        **{"table": HIP, "at": AT, "alt": "an explorer", "name": "new"} | more,
    )


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLTUT_FRONTEND", "lab")


@pytest.fixture
def in_lab(lab: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The live view, with a still picture that takes no time."""
    monkeypatch.setattr("ssltut.show.static.matches.correspondence_figure", lambda *given: Figure())


@pytest.mark.parametrize("kernel", KERNELS)
def test_match_is_what_the_kernel_says_of_every_voxel(kernel: str) -> None:
    target, other = EmbeddedScan("new", HIP, **scan(0)), EmbeddedScan("one", HIP, **scan(1))
    found = MatchFinder(target, {"one": other}, references=40)(AT, "one", Question(kernel, k=7))
    f, v = other.embedding.movedim(0, -1).numpy(), target.embedding[(slice(None), *AT)].numpy()
    cosine = f @ v / np.linalg.norm(f, axis=-1) / np.linalg.norm(v)
    assert found.alike == pytest.approx(
        cosine if kernel.endswith("cosine") else 1 / (1 + ((f - v) ** 2).sum(-1)), abs=1e-5
    )
    assert (np.diff(found.alike[tuple(found.place.T)]) <= 0).all()
    assert (found.classes == other.label[tuple(found.place.T)]).all()
    assert found.vote == pytest.approx([(found.classes == c).mean() for c in range(3)])
    assert len(np.unique(found.place, axis=0)) == 7
    assert found.vote.argmax() == np.nanargmax(found.score) == 1 == target.label[AT]


def test_score_is_the_published_similarity_of_the_drawn_references_and_only_theirs() -> None:
    target, other = (
        EmbeddedScan("new", HIP, **scan(0)),
        EmbeddedScan(
            "one", HIP, **scan(1, label=np.where(scan(1)["label"] == 2, 0, scan(1)["label"]))
        ),
    )
    matcher = MatchFinder(target, {"one": other}, references=40)
    found = matcher(AT, "one", Question())
    index, present = matcher.references("one", 2, 0)
    vectors = other.embedding.flatten(1).T[index]
    assert present.tolist() == [0, 1]
    assert np.isnan(found.score[2])
    assert found.score[:2] == pytest.approx(
        similarity(vectors, target.embedding[(slice(None), *AT)][None])[:, 0].numpy()
    )
    assert (matcher.references("one", 2, 1)[0] != index).any()
    assert matcher.references("one", 2, 0)[0] is index
    thin, wide = (matcher.references("one", band, 0)[0][1].unique().numel() for band in (1, 3))
    assert thin < wide


def test_answers_and_agreement() -> None:
    target = EmbeddedScan("new", HIP, **scan(0, answer=np.full((14, 12, 10), 2)))
    match = MatchFinder(target, {"one": EmbeddedScan("one", HIP, **scan(1))})(AT, "one", Question())
    assert match.answers == {
        "vote of 9": 1,
        "mean_cosine": 1,
        "teacher": 2,
        "truth": 1,
    }
    assert match.agree.all()
    assert line_names(target)[0] == "match of the right class"
    unlabelled = replace(target, label=None)
    assert "truth" not in match._replace(target=unlabelled).answers
    assert not match._replace(target=unlabelled).agree.any()
    assert line_names(unlabelled)[0] == "match of the teacher's class"
    nothing = replace(unlabelled, answer=None)
    assert match._replace(target=nothing).agree.all()
    assert line_names(nothing)[0] == "match"
    assert len(nothing.surfaces) == 1
    assert [m.name for m in target.surfaces] == ["hip bone", "femur"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"labelled": {}}, "no labelled scan"),
        ({"labelled": {"one": scan(1, label=None)}}, "has no label"),
        (
            {"labelled": {"one": scan(1, embedding=torch.zeros(5, 14, 12, 10))}},
            "5 channels, that of the unlabelled scan 3",
        ),
        (
            {"labelled": {"one": scan(1, label=np.zeros((14, 12, 10), np.uint8))}},
            "no surface to draw",
        ),
        ({"target": scan(0, answer=np.zeros((2, 2, 2)))}, r"answer has shape \(2, 2, 2\)"),
        (
            {"target": scan(0, embedding=torch.zeros(3, 2, 2, 2))},
            r"embedding has shape \(2, 2, 2\)",
        ),
        ({"at": (4, 5, 10)}, "voxel .* is not in a scan"),
        ({"at": (4, 5)}, "voxel .* is not in a scan"),
        ({"question": {"k": 0}}, "0 neighbours of"),
        ({"question": {"k": 1801}}, "1801 neighbours"),
        ({"question": {"kernel": "dot"}}, "no similarity kernel 'dot'"),
        ({"alt": " "}, "alt text is empty"),
    ],
)
def test_explorer_refuses_what_does_not_fit(broken: dict, message: str) -> None:
    given = {
        "target": scan(0),
        "labelled": {"one": scan(1)},
        "table": HIP,
        "at": AT,
        "alt": "an explorer",
    }
    with pytest.raises(ConfigError, match=message):
        show.explore_matches(**given | broken)


@pytest.mark.parametrize("more", [{}, {"question": {"k": 60}, "title": "Which references?"}])
def test_static_picture_takes_what_fits(more: dict) -> None:
    data, metadata = explorer(**more)._repr_mimebundle_()
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width > 1000
    assert metadata["alt"] == "an explorer"


def test_static_picture_needs_neither_truth_nor_teacher() -> None:
    bare = show.explore_matches(
        scan(0, label=None), {"one": scan(1)}, table=HIP, at=AT, alt="neither truth nor teacher"
    )
    assert bare.png


def lines_of(view: object) -> np.ndarray:
    """Ends of the lines in 3D, (k, 3), in the order of both paths."""
    paths = [
        np.stack([t.x, t.y, t.z], -1).reshape(-1, 3, 3)
        for t in view.plot.data
        if t.type == "scatter3d" and t.mode == "lines+markers"
    ]
    return np.concatenate(paths)[:, 1]


def test_every_control_searches_again(in_lab: None) -> None:
    view = explorer(title="Which references?")
    data, metadata = view._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert metadata["alt"] == "an explorer"
    assert "ssltut-matches" in view._dom_classes
    assert view.at == AT
    assert "hip bone</b> &#10003; right" in view.answer.value
    assert len(lines_of(view)) == 9
    before = {name: shown.value for name, shown in view.reference.items()}
    view.go((10, 5, 5))
    assert view.at == (10, 5, 5)
    assert int(view.match.vote.argmax()) == 2
    assert "voxel (10, 5, 5)" in view.answer.value
    assert all(shown.value != before[name] for name, shown in view.reference.items())
    ends = lines_of(view)
    for control, value in (
        (view.k, 5),
        (view.band, 3),
        (view.draw, 4),
        (view.kernel, "max_euclid"),
        (view.scan, "two"),
        (view.sliders["x"], 5),
    ):
        old = view.match
        control.value = value
        assert view.match is not old
    assert view.question == Question("max_euclid", 5, 3, 4)
    assert len(lines_of(view)) == 5
    assert lines_of(view) != pytest.approx(ends[:5])
    shown = view.reference["axial"].value
    view.neighbour.value = 4
    assert view.reference["axial"].value != shown
    view.k.value = 2
    assert (view.neighbour.value, view.neighbour.max) == (1, 2)


def test_one_pick_is_one_search(in_lab: None, monkeypatch: pytest.MonkeyPatch) -> None:
    view, asked = explorer(), []
    finder = view.finder
    monkeypatch.setattr(view, "finder", lambda at, *rest: asked.append(at) or finder(at, *rest))
    view.go((1, 2, 3))
    assert asked == [(1, 2, 3)]
    view.go((99, -1, 3))  # to the edge
    assert view.at == (13, 0, 3)


def test_mouse_picks_where_it_clicks_and_only_then(in_lab: None) -> None:
    view = explorer()
    view.touched("coronal", {"kind": "hover", "x": 0.0, "y": 0.0})
    view.touched("coronal", {"kind": "leave"})
    assert view.at == AT
    view.touched(
        "coronal", {"kind": "click", "x": 0.0, "y": 0.999}
    )  # left of the picture is the patient's right, below is inferior
    assert view.at == (13, 5, 0)
    view.touched("coronal", {"kind": "wheel", "steps": -2})
    assert view.at == (13, 3, 0)
    match = view.match
    view.touched("coronal", {"kind": "click", "x": 0.0, "y": 0.999})
    assert view.match is match  # a drag inside one voxel asks once


def test_without_plotly_a_button_draws_the_lines(
    in_lab: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLTUT_FRONTEND", "colab")
    view = explorer()
    assert {type(shown).__name__ for shown in (*view.images.values(), view.plot)} == {"Image"}
    assert view.plot.value == b""
    view.draw_plot.click()
    assert Image.open(io.BytesIO(view.plot.value)).width > 1000
    view.sliders["y"].value = 4
    assert view.plot.value == b""
    assert "voxel (4, 4, 6)" in view.answer.value


def test_names_from_a_table_are_text(in_lab: None) -> None:
    table = SimpleNamespace(
        names=("background", "<b>bone", "femur"), colours=HIP.colours, n_classes=3
    )
    assert "&lt;b&gt;bone" in explorer(table=table).answer.value
