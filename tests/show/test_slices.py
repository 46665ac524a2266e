"""Scans in three planes: geometry, layers, key, and the pixels of the live planes."""

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ssltut import show
from ssltut.data.labels import BONE, HIP, LabelTable
from ssltut.errors import ConfigError
from ssltut.show.live.planes import blend, framed
from ssltut.show.static.slices import HATCHES, Scene, add_key, cut, densest, draw_plane


def test_planes_are_seen_from_the_front_and_from_the_feet():
    volume = np.zeros((4, 5, 6))
    volume[3, 4, 5] = 1  # left, anterior, superior
    shapes = {"axial": (5, 4), "coronal": (6, 4), "sagittal": (6, 5)}
    for plane, shape in shapes.items():
        flat = cut(volume, plane, (3, 4, 5))
        assert flat.shape == shape
        row, column = np.argwhere(flat == 1)[0]
        assert row == 0
        assert column == 0


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        ({"overlay": np.zeros((2, 2, 2), np.uint8), "table": HIP}, "overlay has shape"),
        ({"heat": np.zeros((2, 2, 2))}, "heat has shape"),
        ({"overlay": "label"}, "no table names"),
        ({"overlay": "label", "table": BONE}, "labels reach 2"),
        ({"window": "lung"}, "no window 'lung'"),
    ],
)
def test_scene_refuses_what_does_not_fit(ball, broken, match):
    layers = {
        name: ball.label if isinstance(value, str) and value == "label" else value
        for name, value in broken.items()
    }
    with pytest.raises(ConfigError, match=match):
        Scene(ball.image, ball.spacing, **layers)


def test_scene_takes_what_fits(ball):
    scene = Scene(
        ball.image, ball.spacing, overlay=ball.label, table=HIP, heat=ball.heat, window=(400, 1800)
    )
    assert scene.limits == Scene(ball.image, ball.spacing).limits == (-500, 1300)
    assert scene.centre == (15, 14, 10)
    assert Scene(ball.image, ball.spacing, at=(99, 3, -1)).centre == (29, 3, 0)
    assert Scene(ball.image, ball.spacing, window=None).limits == tuple(
        np.percentile(ball.image[::2, ::2, ::2], (1, 99))
    )
    assert Scene(ball.image[:, :, 4:], ball.spacing).centre == (15, 14, 8)


def test_grid_refuses_nothing_and_unknown_planes(ball):
    for items, plane in (
        ({}, "axial"),
        ({"one": {"image": ball.image, "spacing": ball.spacing}}, "oblique"),
    ):
        with pytest.raises(ConfigError, match="a grid of"):
            show.grid(items, alt="none", plane=plane)


def test_explorer_follows_its_sliders(ball, lab):
    view = show.slices(
        ball.image,
        spacing=ball.spacing,
        alt="a ball",
        overlay=ball.label,
        table=HIP,
        heat=ball.heat,
        contours={"ball": ball.label},
    )
    assert {axis: s.value for axis, s in view.sliders.items()} == {"x": 15, "y": 14, "z": 10}
    before = {plane: image.value for plane, image in view.images.items()}
    view.sliders["z"].value = 2
    assert all(
        view.images[plane].value != before[plane] for plane in before
    )  # the crosshair moves in the other planes
    view.sliders["z"].value = 10
    assert {plane: image.value for plane, image in view.images.items()} == before
    view.opacity.value = 0.0
    assert view.images["axial"].value != before["axial"]
    axial = Image.open(io.BytesIO(before["axial"]))
    assert axial.width / axial.height == pytest.approx(30 * 1.0 / (28 * 1.5), rel=0.02)


def test_blend_mixes_grey_and_class_colour(ball):
    plain = blend(Scene(ball.image, ball.spacing), "axial", (15, 14, 12), 0.5)
    mixed = blend(
        Scene(ball.image, ball.spacing, overlay=ball.label, table=HIP), "axial", (15, 14, 12), 0.5
    )
    inside = cut(ball.label, "axial", (15, 14, 12)) == 1
    assert (plain[~inside] == mixed[~inside]).all()
    grey = (250 + 500) / 1800
    assert mixed[inside][0] == pytest.approx(
        [int(255 * (grey + c / 255) / 2) for c in (0xE6, 0x9F, 0x00)], abs=1
    )


def test_the_key_names_the_classes_of_every_table_that_is_shown():
    image = np.zeros((4, 4, 4), np.int16)
    bones, source = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    bones[0], source[1], source[2] = 2, 1, 2
    origin = LabelTable("origin", ("teacher", "match", "none"), ("#000000", "#D55E00", "#F0E442"))
    scenes = [
        Scene(image, (1, 1, 1), overlay=bones, table=HIP),
        Scene(image, (1, 1, 1), overlay=source, table=origin),
        Scene(image, (1, 1, 1), overlay=bones, table=HIP),
    ]
    for shown, names in ((scenes, ["femur", "match", "none"]), (scenes[:1], ["femur"])):
        fig = Figure()
        fig.subplots(1, len(shown))
        add_key(fig, shown)
        assert [text.get_text() for text in fig.legends[0].get_texts()] == names


def test_the_key_names_only_what_is_in_the_picture():
    image = np.zeros((9, 9, 9), np.int16)
    label, said = np.zeros((9, 9, 9), np.uint8), np.zeros((9, 9, 9), np.uint8)
    label[1:3], label[4:6], said[4:6, 4:6] = 1, 2, 2
    scene = Scene(
        image, (1, 1, 1), contours={"truth": label, "said": said}, table=HIP, at=(4, 0, 4)
    )
    for planes, names in (
        (["sagittal"], ["femur", "truth", "said"]),
        (["coronal"], ["hip bone", "femur", "truth"]),
    ):
        fig = Figure()
        fig.subplots()
        add_key(fig, [scene], planes)
        assert [text.get_text() for text in fig.legends[0].get_texts()] == names
    bare = Figure()
    bare.subplots()
    add_key(bare, [replace(scene, at=(7, 0, 4))], ["sagittal"])
    assert bare.legends == []


def test_classes_without_outlines_differ_in_hatching_in_both_kinds_of_picture():
    image = np.zeros((40, 40, 40), np.int16)
    label = np.zeros((40, 40, 40), np.uint8)
    label[:13], label[13:26], label[26:] = 1, 2, 3
    grey = LabelTable("grey", ("no", "a", "b", "c"), ("#000000", *["#888888"] * 3))
    scene = Scene(image, (1, 1, 1), overlay=label, contours={}, table=grey)
    fig = Figure()
    ax = fig.subplots()
    draw_plane(ax, scene, "axial", "")
    assert [hatched.hatches[0] for hatched in ax.collections] == list(HATCHES)
    add_key(fig, [scene], ["axial"])
    assert [patch.get_hatch() or "" for patch in fig.legends[0].legend_handles] == list(HATCHES)
    pixels = blend(scene, "axial", (20, 20, 20), 1.0)[..., 0]
    looks = [
        pixels[9:18, columns] > 100 for columns in (slice(30, 39), slice(17, 26), slice(3, 12))
    ]
    assert looks[0].all()
    assert 0.5 < looks[1].mean() < 0.8
    assert (looks[1] != looks[2]).any()
    assert not (looks[1] == looks[1][:, ::-1]).all()


def test_the_densest_place_is_never_at_the_rim_nor_where_there_is_no_bone():
    label = np.zeros((40, 30, 20), np.uint8)
    label[10:30, 8:22, 6:16] = 1
    errors = np.zeros(label.shape)
    errors[:, :, 0] = 1  # the worst of all, in the first plane
    errors[32:39, 10:20, 8:14] = 1  # beside the bone
    errors[24:28, 12:16, 9:12] = 1
    x, y, z = densest(errors, label, side=5)
    assert label[x, y, z]
    assert 2 <= z <= 17
    assert 10 <= x < 30
    assert errors[x, y, z]
    assert (
        densest(np.zeros(label.shape), label)
        == Scene(label, (1, 1, 1), overlay=label, table=BONE).centre
    )
    assert densest(errors, np.zeros_like(label))[2] not in (0, 19)
    assert densest(np.ones((3, 3, 3)), np.ones((3, 3, 3), np.uint8)) == (1, 1, 1)
    with pytest.raises(ConfigError, match="values has shape"):
        densest(errors[1:], label)


def test_sides_are_named_only_where_they_are_known():
    image = np.zeros((6, 6, 6), np.int16)
    for letters, named in ((True, ["R", "L", "S", "I"]), (False, [])):
        fig = Figure()
        ax = fig.subplots()
        draw_plane(ax, Scene(image, (1, 1, 1), letters=letters), "coronal", "")
        assert [text.get_text() for text in ax.texts] == [*named, "2 mm"]
    with_letters, without = (
        np.asarray(framed(Scene(image, (9, 9, 9), letters=letters), "axial", (3, 3, 3), 0.5))
        for letters in (True, False)
    )
    assert (with_letters != without).any()
