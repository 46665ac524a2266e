"""The live views: their controls are moved and their handlers called; what they then show is what
the arrays say.
"""

import io
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ipywidgets import Widget
from PIL import Image
from toy import SMALL, toy_cohort

from ssltut import show
from ssltut.data.labels import HIP
from ssltut.errors import ConfigError
from ssltut.methods.registry import make_method
from ssltut.show.live.embedding import flatten
from ssltut.show.static.reliability import ReliabilityCounts, counts_in_words, label_sides
from ssltut.show.static.slices import Scene, limits_of
from ssltut.training.loop import train

SPACING, SHAPE = (1.0, 2.0, 1.5), (12, 10, 8)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(-200, 900, SHAPE).astype(np.int16)
LABEL = np.zeros(SHAPE, np.uint8)
LABEL[2:6, 2:7, 2:6], LABEL[6:10, 2:7, 2:6] = 1, 2
DOUBT = RNG.random(SHAPE).astype(np.float32)
WRONG = DOUBT + 0.3 * RNG.standard_normal(SHAPE) > 0.9


@pytest.fixture(autouse=True)
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLTUT_FRONTEND", "lab")


def explorer(**more: object) -> object:
    layers = {"prediction": LABEL, "error": WRONG, "uncertainty (nats)": DOUBT}
    return show.slices(
        IMAGE,
        spacing=SPACING,
        alt="a scan",
        overlay=LABEL,
        table=HIP,
        **({"layers": layers} | more),
    )


def doubting(**more: object) -> object:
    return show.explore_uncertainty(
        IMAGE, DOUBT, spacing=SPACING, alt="doubt", **({"wrong": WRONG} | more)
    )


def mapped(n: int = 40, **more: object) -> object:
    places = np.argwhere(LABEL >= 0)[:: LABEL.size // n][:n]
    given = {
        "classes": LABEL[tuple(places.T)],
        "reliable": DOUBT[tuple(places.T)] < 0.5,
        "right": ~WRONG[tuple(places.T)],
    }
    return show.explore_embeddings(
        np.random.default_rng(1).normal(size=(n, 6)),
        places,
        IMAGE,
        spacing=SPACING,
        table=HIP,
        alt="a map",
        **(given | more),
    )


@pytest.mark.parametrize("view", [explorer, doubting, mapped])
def test_each_view_is_a_picture_and_a_widget(view, monkeypatch):
    data, metadata = view(title="a title")._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert metadata["alt"] == data["text/plain"]
    monkeypatch.setenv("SSLTUT_FRONTEND", "static")
    still = view(title="a title")
    assert isinstance(still, show.Picture)
    assert Image.open(io.BytesIO(still.png)).width > 500
    monkeypatch.setenv("SSLTUT_FRONTEND", "colab")
    assert "image/png" in view()._repr_mimebundle_()[0]


def test_a_click_moves_the_crosshair_and_the_wheel_the_slice():
    view = explorer()
    assert {type(pane).__name__ for pane in view.images.values()} == {"Pane"}
    assert view.images["axial"].alt.startswith("axial plane. a scan")
    view.touched("axial", {"kind": "click", "x": 0.01, "y": 0.99})  # on the patient's right behind
    assert view.at == (11, 0, 4)
    view.touched("sagittal", {"kind": "click", "x": 0.0, "y": 0.0})  # in front and on top
    assert view.at == (11, 9, 7)
    view.touched("coronal", {"kind": "wheel", "steps": -3})
    assert view.at == (11, 6, 7)
    view.touched("axial", {"kind": "wheel", "steps": 5})  # no further than the last slice
    assert view.at == (11, 6, 7)
    view.touched(
        "axial", {"kind": "click", "x": 1.2, "y": -0.1}
    )  # the edge of the picture is inside the scan
    assert view.at == (0, 9, 7)


def test_messages_of_the_picture_reach_the_explorer():
    view = explorer()
    view.images["axial"]._handle_custom_msg({"kind": "click", "x": 0.99, "y": 0.01}, [])
    assert view.at == (0, 9, 4)


def test_readout_says_value_unit_and_names_of_the_voxel_under_cursor_and_crosshair():
    view = explorer(contours={"truth": LABEL})
    view.go((7, 3, 3))
    assert (
        f"crosshair (7, 3, 3): <b>{IMAGE[7, 3, 3]:.4g} HU · label: femur · truth: femur"
        in view.readout.value
    )
    assert f"uncertainty (nats) {DOUBT[7, 3, 3]:.3f}" in view.readout.value
    assert f"error: {'error' if WRONG[7, 3, 3] else 'no'}" in view.readout.value
    view.touched("axial", {"kind": "hover", "x": 0.5, "y": 0.5})
    assert "cursor (5, 4, 3)" in view.readout.value
    assert view.at == (7, 3, 3)
    view.touched("axial", {"kind": "leave"})
    assert "crosshair (7, 3, 3)" in view.readout.value
    assert " HU" not in explorer(window=None).readout.value
    assert " s " in explorer(unit="s").readout.value


def test_go_draws_each_plane_once(monkeypatch):
    view, drawn = explorer(), []
    monkeypatch.setattr(
        "ssltut.show.live.slices.crossed", lambda *given: drawn.append(given[2]) or b""
    )
    view.go((1, 2, 3))
    assert drawn == ["axial", "coronal", "sagittal"]
    assert view.at == (1, 2, 3)


def test_layers_are_switched_and_named():
    view = explorer()
    assert view.layer.options == (
        "as given",
        "prediction",
        "error",
        "uncertainty (nats)",
        "image alone",
    )
    seen = set()
    for name in view.layer.options:
        view.layer.value = name
        seen.add(view.images["axial"].value)
        assert {
            "as given": "femur",
            "prediction": "femur",
            "error": "error",
            "uncertainty (nats)": "nats",
            "image alone": "",
        }[name] in view.key.value
    assert len(seen) == 4  # the prediction is the label here
    view.layer.value = "image alone"
    before = view.images["axial"].value
    view.sliders["opacity"].value = 1.0
    assert view.images["axial"].value == before


def test_windows_set_the_grey_values_and_grey_values_the_picture():
    view = explorer(layers=None)
    assert list(view.windows) == ["bone", "soft", "whole", "percentile"]
    assert view.grey.value == (-500, 1300)
    before = view.images["axial"].value
    for name, button in view.windows.items():
        button.click()
        assert view.grey.value == pytest.approx(limits_of(IMAGE, name))
    assert view.images["axial"].value != before
    assert list(explorer(window="percentile").windows) == ["whole", "percentile"]  # an MR has no HU


def test_without_mouse_the_pictures_are_those_of_core_ipywidgets(monkeypatch):
    def kinds(view):
        return {type(shown).__name__ for shown in view.images.values()}

    assert kinds(explorer(mouse=False)) == {"Image"}
    monkeypatch.setenv("SSLTUT_FRONTEND", "colab")
    assert kinds(explorer()) == {"Image"}
    monkeypatch.setenv("SSLTUT_FRONTEND", "lab")
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "ssltut.show.live.mouse", raising=False)
    view = explorer()
    assert kinds(view) == {"Image"}
    before = view.images["axial"].value
    view.sliders["z"].value = 0
    assert view.images["axial"].value != before


def test_widgets_carry_their_dom_classes():
    view, other, points = explorer(), doubting(), mapped()
    for widget, name in (
        (view, "explorer"),
        (view.layer, "layer"),
        (view.sliders["x"], "x"),
        (view.images["axial"], "axial"),
        (view.readout, "readout"),
        (view.windows["bone"], "window-bone"),
        (other, "uncertainty"),
        (other.nats, "nats"),
        (points, "embeddings"),
        (points.point, "point"),
    ):
        assert f"ssltut-{name}" in widget._dom_classes


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (LABEL[1:], "overlay has shape"),
        (DOUBT[1:], "heat has shape"),
        (LABEL + 5, "labels reach 7"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layer, match):
    with pytest.raises(ConfigError, match=match):
        explorer(layers={"wrong": layer})


def test_doubt_counts_by_hand():
    doubt = ReliabilityCounts(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, False, True, False]))
    assert doubt.sides(0.3) == [("reliable", 2, 0.5, 1.0), ("unreliable", 2, 0.5, 0.5)]
    assert doubt.caught(0.3) == 1
    assert doubt.caught(0.35) == 0
    assert doubt.point(0.35) == (0.75, pytest.approx(1 / 3))
    assert [doubt.threshold(p) for p in (0, 50, 75)] == [0.1, 0.3, 0.4]
    assert doubt.kept(doubt.threshold(100)) == 4
    assert np.isnan(ReliabilityCounts(np.array([0.1]), np.array([False])).caught(0.0))
    part = ReliabilityCounts(
        np.array([0.1, 0.2, 0.3]), np.array([True, False, False]), np.array([False, True, True])
    )
    assert part.sides(0.25) == [("reliable", 1, 0.5, 1.0), ("unreliable", 1, 0.5, 1.0)]
    assert (
        counts_in_words(part, 0.0)
        == "At 0.000 nats\nreliable: 0 voxels (0.0%)\nunreliable: 2 voxels (100.0%),\n    100.0% of"
        " them right"
    )
    assert ReliabilityCounts(np.array([0.1, 0.2])).point(0.15) == (0.15, 0.5)
    assert label_sides(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1], bool), 0.5).tolist() == [
        0,
        1,
        3,
        2,
    ]
    assert label_sides(np.array([0, 1]), None, 0.5).tolist() == [0, 1]


def test_nats_and_percentile_move_together():
    view = doubting()
    assert view.percentile.value == pytest.approx(95, abs=0.1)
    before = view.curve.value, view.explorer.images["axial"].value
    view.percentile.value = 50
    assert view.nats.value == pytest.approx(np.median(DOUBT), abs=0.002)
    assert view.percentile.value == pytest.approx(50, abs=0.1)
    view.nats.value = 0.25
    assert view.percentile.value == pytest.approx(100 * (DOUBT < 0.25).mean())
    right = 1 - WRONG[DOUBT < 0.25].mean()
    assert f"{(DOUBT < 0.25).sum():,} voxels" in view.counts.value
    assert f"{right:.1%} of them right" in view.counts.value
    assert view.curve.value != before[0]
    assert view.explorer.images["axial"].value != before[1]
    assert (
        view.explorer.scenes["reliable and unreliable"].overlay == label_sides(DOUBT, WRONG, 0.25)
    ).all()


def test_without_truth_there_are_two_sides():
    view = doubting(wrong=None)
    assert "right" not in view.counts.value
    assert view.explorer.scene.table.n_classes == 2
    assert view.explorer.layer.options == (
        "reliable and unreliable",
        "uncertainty (nats)",
        "image alone",
    )


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        ({"wrong": WRONG[1:]}, "wrong has shape"),
        ({"where": WRONG[1:]}, "where has shape"),
        ({"where": np.zeros(SHAPE, bool)}, "no voxel to count"),
    ],
)
def test_what_does_not_fit_an_uncertainty_map_is_refused(broken, match):
    with pytest.raises(ConfigError, match=match):
        doubting(**broken)
    doubting(where=WRONG)


def test_principal_components_are_those_of_the_covariance():
    x = np.random.default_rng(3).normal(size=(60, 4)) * (5, 2, 1, 0.1)
    points, names = flatten(x)
    values, turn = np.linalg.eigh(np.cov(x.T))
    expected = (x - x.mean(0)) @ turn[:, :-3:-1]
    assert abs(points) == pytest.approx(abs(expected))
    assert names[0] == f"component 1 ({values[-1] / values.sum():.0%} of the variance)"


def test_other_maps_are_used_where_installed_and_asked_for_in_one_line(monkeypatch):
    x, made = np.random.default_rng(3).normal(size=(20, 4)), []

    class Fake:
        def __init__(self, **options: object) -> None:
            made.append(options)

        def fit_transform(self, x: np.ndarray) -> np.ndarray:
            return x[:, :2]

    monkeypatch.setitem(sys.modules, "sklearn.manifold", SimpleNamespace(TSNE=Fake))
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Fake))
    assert (flatten(x, "tsne", 5)[0] == x[:, :2]).all()
    assert flatten(x, "umap", 5)[1] == ["UMAP 1, no unit", "UMAP 2, no unit"]
    assert made == [
        {"perplexity": 19 / 3, "init": "pca", "random_state": 5},
        {"n_neighbors": 15, "random_state": 5},
    ]
    for method, module, package in (
        ("tsne", "sklearn.manifold", "scikit-learn"),
        ("umap", "umap", "umap-learn"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(
            ConfigError, match=f"needs {package}, which is not installed.*or use method='pca'"
        ):
            flatten(x, method)


@pytest.mark.parametrize(("method", "module"), [("tsne", "sklearn"), ("umap", "umap")])
def test_other_maps_keep_groups_together(method, module):
    pytest.importorskip(module)
    rng = np.random.default_rng(0)
    x, group = (
        np.concatenate([rng.normal(middle, 1, (60, 8)) for middle in (0, 9, 18)]),
        np.repeat([0, 1, 2], 60),
    )
    place, _ = flatten(x, method)
    apart = np.linalg.norm(place[:, None] - place[None], axis=-1) + np.diag(np.full(180, np.inf))
    assert (group[apart.argmin(1)] == group).all()
    assert np.allclose(place, flatten(x, method)[0])


@pytest.mark.parametrize(
    "given", [(np.ones((2, 5)),), (np.ones((9, 1)),), (np.ones((9, 5)), "lda")]
)
def test_vectors_without_a_map_are_refused(given):
    with pytest.raises(ConfigError, match="a map of vectors of shape"):
        flatten(*given)


def test_embedding_map_leads_to_the_voxel(monkeypatch):
    view = mapped()
    assert hasattr(view.map, "batch_update")
    view.point.value = 17
    place = np.argwhere(LABEL >= 0)[:: LABEL.size // 40][17]
    assert view.explorer.at == tuple(place)
    assert f"voxel {tuple(map(int, place))}" in view.told.value
    ring = view.map.data[-1]
    view.colour.value = "right"
    trace = view.map.data[1]
    assert trace.name == "wrong"
    assert trace.marker.symbol == "square"
    assert len(trace.x) == (WRONG[tuple(np.argwhere(LABEL >= 0)[::24][:40].T)]).sum()
    (
        trace._dispatch_on_click(SimpleNamespace(point_inds=[2]), None)
        if hasattr(trace, "_dispatch_on_click")
        else trace._click_callbacks[0](trace, SimpleNamespace(point_inds=[2]), None)
    )
    assert (ring.x[0], ring.y[0]) == (trace.x[2], trace.y[2])
    monkeypatch.setenv("SSLTUT_FRONTEND", "colab")
    plain = mapped(reliable=None)
    before = plain.map.value
    plain.point.value = 3
    assert plain.map.value != before
    assert Image.open(io.BytesIO(plain.map.value)).width > 500


def test_the_browser_hears_of_a_figure_when_it_is_whole(monkeypatch):
    states, opened = [], Widget.open
    monkeypatch.setattr(
        Widget,
        "open",
        lambda self: (
            states.append(len(self._widget_data or ())) if hasattr(self, "_widget_data") else None,
            opened(self),
        ),
    )
    view = mapped()
    assert states == [len(view.map.data)] == [4]
    assert view.map.model_id


def test_an_embedding_map_of_unequal_lengths_is_refused():
    with pytest.raises(
        ConfigError,
        match="an embedding map of 40 vectors, 40 places, 40 class, 40 reliable, 39 right",
    ):
        mapped(right=np.ones(39, bool))


def steps(live: object, n: int) -> None:
    terms = {"supervised": SimpleNamespace(value=torch.tensor(1.0), weight=1.0, share=None)}
    for step in range(n):
        live.on_step(step, {"student": None}, "batch", terms)


def test_status_tells_step_rate_validation_and_time_left(monkeypatch):
    now = iter(range(0, 1000, 60))
    monkeypatch.setattr(
        "ssltut.show.live.training.time", SimpleNamespace(monotonic=lambda: next(now))
    )
    live = show.LiveCurves(alt="training", steps=5, learning_rate=0.001)
    live.live = False
    steps(live, 3)
    live.on_validation(2, {"dice": 0.81234, "hd95": 4.0})
    assert (
        live.status()
        == "step 3 of 5, learning rate 0.001, validation Dice 0.812 at step 3, 3.0 min left"
    )
    assert live.rows[-1]["validation hd95"] == 4.0
    assert show.LiveCurves(alt="training", steps=1).add({"step": 0, "total": 1.0}) is None


def test_slices_of_the_networks_are_looked_at_when_redrawn(monkeypatch):
    shown, asked = [], []
    monkeypatch.setattr(
        "IPython.display.display",
        lambda picture, display_id: shown.append(picture) or SimpleNamespace(update=shown.append),
    )

    def look(nets: object, batch: object) -> dict:
        asked.append((nets, batch))
        return {
            "pseudo-label": {
                "image": IMAGE,
                "spacing": SPACING,
                "overlay": LABEL * (len(asked) % 2),
                "table": HIP,
            }
        }

    with show.LiveCurves(alt="training", look=look, every=60) as live:
        steps(live, 4)
    assert asked == [({"student": None}, "batch")] * 2
    assert len(shown) == 2
    heights = [
        Image.open(io.BytesIO(picture.png)).height
        for picture in (shown[-1], show.curves(live.rows, alt="without slices"))
    ]
    assert heights[0] > heights[1] + 200
    assert shown[-1].alt == "training step 4"


def test_a_panel_waits_for_its_validation_score_and_for_nothing_else():
    live = show.LiveCurves(alt="training", groups={"loss": ["total"], "score": ["validation dice"]})
    live.rows.append({"step": 0, "total": 1.0})
    first = live.picture(quick=True).png
    live.on_validation(0, {"dice": 0.5})
    assert live.picture(quick=True).png != first
    live.groups = {"loss": ["totally"]}
    with pytest.raises(ConfigError, match="no column totally"):
        live.picture()


@pytest.mark.parametrize(("steps", "most"), [(2000, 14), (None, 14), (20, 2)])
def test_redraws_keep_to_their_share_of_the_time(monkeypatch, steps, most):
    monkeypatch.setattr(
        "IPython.display.display",
        lambda picture, display_id: SimpleNamespace(update=lambda now: None),
    )
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        "ssltut.show.live.training.time", SimpleNamespace(monotonic=lambda: clock.now)
    )
    live, drawn = show.LiveCurves(alt="training", steps=steps), []

    def picture(*, quick: bool) -> SimpleNamespace:
        clock.now += 0.2 if quick else 0.4  # what a redraw costs
        drawn.append(clock.now)
        return SimpleNamespace()

    live.picture = picture
    with live:
        for step in range(steps or 2000):
            clock.now += 0.1
            live.add({"step": step, "total": 1.0})
    assert drawn[0] < 1
    assert len(drawn) <= most
    if steps != 20:  # of a run of two seconds the first picture and the last are more than that
        assert live.spent <= 0.02 * clock.now
        assert len(drawn) >= 5
    if steps == 2000:
        assert max(np.diff(drawn)) < 30  # over the whole run


def test_live_curves_get_the_validation_scores_of_train(tmp_path, monkeypatch):
    monkeypatch.setenv("SSLTUT_FRONTEND", "static")
    live = show.LiveCurves(alt="training")
    run = train(
        make_method("labels_only"),
        toy_cohort(),
        SMALL,
        tmp_path / "run",
        callbacks=[live],
        log=lambda line: None,
    )
    told = {row["step"]: row["validation dice"] for row in live.rows if "validation dice" in row}
    assert told == {1: run.history["validation dice"][1], 3: run.history["validation dice"][3]}


def test_a_slice_of_the_explorer_takes_milliseconds():
    image = np.random.default_rng(0).integers(-200, 900, (256, 256, 16)).astype(np.int16)
    view = show.slices(
        image, spacing=(1, 1, 1), alt="a scan", overlay=(image > 600).astype(np.uint8), table=HIP
    )
    spent = []
    for z in range(9):
        begun = time.perf_counter()
        view.sliders["z"].value = z
        spent.append(time.perf_counter() - begun)
    assert min(spent) < 0.1  # 0.01 s on a quiet machine


def test_whole_window_and_bare_contours():
    assert Scene(IMAGE, SPACING, window="whole").limits == (IMAGE.min(), IMAGE.max())
    assert (
        show.planes(IMAGE, spacing=SPACING, alt="a", overlay=LABEL, table=HIP).png
        != show.planes(IMAGE, spacing=SPACING, alt="a", overlay=LABEL, table=HIP, contours={}).png
    )
