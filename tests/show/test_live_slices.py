"""The slice explorer, and what all live views have: controls are moved, pictures compared."""

import io

import pytest
from PIL import Image
from toy_views import (
    DOUBT,
    IMAGE,
    LABEL,
    SPACING,
    WRONG,
    embedding_view,
    slice_view,
    uncertainty_view,
)

from ssltut import show
from ssltut.data.labels import HIP
from ssltut.errors import ConfigError
from ssltut.show.live import planes
from ssltut.show.static.slices import Scene, limits_of

pytestmark = pytest.mark.usefixtures("lab")


@pytest.mark.parametrize("view", [slice_view, uncertainty_view, embedding_view])
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
    view = slice_view()
    assert {type(pane).__name__ for pane in view.images.values()} == {"ClickableImage"}
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


def test_messages_of_the_picture_reach_the_slice_view():
    view = slice_view()
    view.images["axial"]._handle_custom_msg({"kind": "click", "x": 0.99, "y": 0.01}, [])
    assert view.at == (0, 9, 4)


def test_readout_says_value_unit_and_names_of_the_voxel_under_cursor_and_crosshair():
    view = slice_view(contours={"truth": LABEL})
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
    assert " HU" not in slice_view(window=None).readout.value
    assert " s " in slice_view(unit="s").readout.value


def test_go_draws_each_plane_once(monkeypatch):
    view, drawn = slice_view(), []
    monkeypatch.setattr(
        "ssltut.show.live.planes.crossed", lambda *given: drawn.append(given[2]) or b""
    )
    view.go((1, 2, 3))
    assert drawn == ["axial", "coronal", "sagittal"]
    assert view.at == (1, 2, 3)


def test_a_moved_slice_is_drawn_anew_and_the_other_planes_get_a_crosshair(monkeypatch):
    view, drawn = slice_view(), []
    framed = planes.framed

    def counted(scene: Scene, plane: str, *given: object) -> object:
        drawn.append(plane)
        return framed(scene, plane, *given)

    monkeypatch.setattr(planes, "framed", counted)
    before = {plane: image.value for plane, image in view.images.items()}
    view.sliders["z"].value = 0
    assert drawn == ["axial"]
    assert all(view.images[plane].value != before[plane] for plane in before)
    view.opacity.value = 1.0
    assert drawn[1:] == ["axial", "coronal", "sagittal"]


def test_layers_are_switched_and_named():
    view = slice_view()
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
    view.opacity.value = 1.0
    assert view.images["axial"].value == before


def test_windows_set_the_grey_values_and_grey_values_the_picture():
    view = slice_view(layers=None)
    assert list(view.windows) == ["bone", "soft", "whole", "percentile"]
    assert view.grey.value == (-500, 1300)
    before = view.images["axial"].value
    for name, button in view.windows.items():
        button.click()
        assert view.grey.value == pytest.approx(limits_of(IMAGE, name))
    assert view.images["axial"].value != before
    assert list(slice_view(window="percentile").windows) == [
        "whole",
        "percentile",
    ]  # an MR has no HU


def test_without_mouse_the_pictures_are_those_of_core_ipywidgets(monkeypatch):
    def kinds(view):
        return {type(shown).__name__ for shown in view.images.values()}

    assert kinds(slice_view(mouse=False)) == {"Image"}
    monkeypatch.setenv("SSLTUT_FRONTEND", "colab")
    view = slice_view()
    assert kinds(view) == {"Image"}
    before = view.images["axial"].value
    view.sliders["z"].value = 0
    assert view.images["axial"].value != before


def test_widgets_carry_their_dom_classes():
    view, other, points = slice_view(), uncertainty_view(), embedding_view()
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
        slice_view(layers={"wrong": layer})


def test_whole_window_and_bare_contours():
    assert Scene(IMAGE, SPACING, window="whole").limits == (IMAGE.min(), IMAGE.max())
    assert (
        show.planes(IMAGE, spacing=SPACING, alt="a", overlay=LABEL, table=HIP).png
        != show.planes(IMAGE, spacing=SPACING, alt="a", overlay=LABEL, table=HIP, contours={}).png
    )
