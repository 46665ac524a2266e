"""ERSR: shapes recovered, failed fits left out, mirrors, and the terms against their equations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import SMALL, hips, make_batch, trained_on_hips

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Split
from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.methods.contract import Plan, Progress
from ssltut.methods.further.ersr import photometric
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
from ssltut.methods.parts.memory import ScoreTable
from ssltut.methods.registry import make_method
from ssltut.seeding import generator_for
from ssltut.training.loop import train
from ssltut.training.networks import build_nets

STILL = replace(SMALL, dropout=0.0, norm="instance")
HEAD = LabelTable("head", ("background", "femoral head"), ("#000000", "#56B4E9"))


def ellipse(size, centre, half_axes, turn=None):
    """d² of every voxel of a known ellipse or ellipsoid, from its definition."""
    turn = np.eye(len(size)) if turn is None else turn
    x = (np.moveaxis(np.indices(size, float), 0, -1) - centre) @ turn
    return ((x / half_axes) ** 2).sum(-1)


def rotation(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


@pytest.mark.parametrize("degrees", [0, 30, 75])
def test_an_ellipse_is_recovered_from_its_mask(degrees):
    truth = ellipse((48, 40), (22.3, 18.7), (14.0, 8.5), rotation(degrees))
    found = find_shape(truth <= 1, False, 0.0, 0.9)
    assert found.centre == pytest.approx([22.3, 18.7], abs=0.15)
    assert found.half_axes() == pytest.approx([14.0, 8.5], abs=0.25)
    assert abs(mirror_through([found]).normal @ rotation(degrees)[:, 1]) == pytest.approx(
        1.0, abs=2e-3
    )  # across the short axis


@pytest.mark.parametrize("cut", [0, 8])
def test_a_sphere_is_recovered_even_where_the_patch_cuts_it(cut):
    mask = (ellipse((32, 32, 32), (15.2, 16.4, 14.9), (10.0,) * 3) <= 1)[cut:]
    found = find_shape(mask, True, 0.0, 0.9)
    assert found.centre == pytest.approx([15.2 - cut, 16.4, 14.9], abs=0.1)
    assert found.half_axes() == pytest.approx([10.0] * 3, abs=0.1)


def test_an_ellipsoid_is_recovered():
    found = find_shape(
        ellipse((36, 32, 28), (17.1, 15.6, 13.3), (14.0, 10.0, 7.0)) <= 1, False, 0.0, 0.9
    )
    assert found.centre == pytest.approx([17.1, 15.6, 13.3], abs=0.1)
    assert found.half_axes() == pytest.approx([14.0, 10.0, 7.0], abs=0.2)


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
    assert found.half_axes()[0] == pytest.approx(9.0, abs=0.4)


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
    assert heads[0].half_axes()[0] > heads[1].half_axes()[0]  # the largest piece first
    assert mirror_through([h._replace(centre=np.roll(h.centre, 1)) for h in heads]) is None


def test_regularity_ranks_a_disc_before_a_ragged_mask_and_knows_what_it_cannot_rank():
    disc = (ellipse((32, 32), (16, 16), (9, 7)) <= 1).astype(float)
    ragged = np.where(np.random.default_rng(0).random((32, 32)) < 0.2, 1 - disc, disc)
    assert regularity(disc) < regularity(ragged)
    assert regularity(disc * 0.4) is None
    assert regularity(np.ones((4, 4))) is None
    step = np.zeros((6, 6))
    step[3:] = 1.0
    # Sobel 4 on the two rows at the edge; distances 0 0 0 1 2 3: Laplacian 1 on the row before the
    # edge, -1 on the last
    assert regularity(step) == pytest.approx((4 * 2 / 6 + 2 / 6) / 2)


def test_the_table_keeps_the_last_score_of_every_scan():
    table = ScoreTable(3)
    assert table.limit(0.5) == -np.inf
    table.store(["a", "b", "a"], [3.0, 2.0, 1.0])
    assert int(table.count) == 2
    assert table.limit(0.5) == 1.0
    assert table.limit(1.0) == 2.0
    table.store(["c", "d"], [5.0, 6.0])  # the table is full: a, the oldest, goes
    assert sorted(table.scores.tolist()) == [2.0, 5.0, 6.0]
    assert table.recall("c") == 5.0
    assert table.recall("a") is None


def round_batch(seed=0):
    """Two unlabelled patches whose slices show an ellipse, but for the last two of the second, and
    a teacher that sees them.
    """
    batch, inside = make_batch(2, size=16, seed=seed), np.zeros((2, 16, 16, 16), bool)
    for i, half_axes in enumerate([(5.0, 3.5), (6.0, 4.0)]):
        inside[i] = (ellipse((16, 16), (7.4, 8.2), half_axes, rotation(20)) <= 1)[..., None]
    inside[1, ..., 14:] = False
    return replace(batch, x_u=torch.from_numpy(inside)[:, None].float()), inside


def sure_teacher(nets):
    """p = sigmoid(8 (x - 0.5)) from the image alone: 0.98 in the bright ellipse."""
    nets["teacher"].forward = lambda x: type(
        "Out", (), {"logits": torch.cat([-4 * (x - 0.5), 4 * (x - 0.5)], 1)}
    )
    return nets


def test_every_term_against_its_equation():
    method, (batch, inside), progress = (
        make_method("ersr", {"sigma_student": 0.0}),
        round_batch(),
        Progress(70, 100),
    )
    nets = sure_teacher(build_nets(method, STILL, 2))
    found, _ = method.refine(batch, nets, 1.0)
    assert torch.equal(
        found.used, torch.from_numpy(inside.any((1, 2))[:, None, None]).expand_as(found.used)
    )
    assert not found.mask[1, ..., 14:].any()
    assert (found.mask.numpy() == inside)[found.used.numpy()].mean() > 0.97
    terms = method.losses(batch, nets, progress)

    def p_of(x):
        return nets["student"](x).logits.double().softmax(1)[:, 1]

    def reflected(
        v,
    ):  # voxel by voxel, trilinear by hand is not needed: partners as grid_sample reads them
        return torch.nn.functional.grid_sample(
            v[:, None].double(), found.partner.double(), padding_mode="border", align_corners=False
        )[:, 0]

    p, used, images = p_of(batch.x_u), found.used, 0.0
    assert terms["shape"].value.item() == pytest.approx(
        (p - found.mask.double()).square()[used].mean().item(), rel=1e-4
    )
    halves = 0.0
    for left in (True, False):
        own, x = found.left if left else ~found.left, batch.x_u[:, 0].double()
        half = photometric(batch.x_u, batch.generator("half", left))[:, 0].double()
        image = torch.where(found.region, torch.where(own, half, reflected(half)), x)
        q, aim = p_of(image[:, None].float()), torch.where(found.region & ~own, reflected(p), p)
        images += (q - aim).square()[used].mean()
        halves += (q - reflected(q)).square()[found.region & found.left].mean()
    assert terms["mirror images"].value.item() == pytest.approx(images.item(), rel=1e-4)
    assert terms["mirror halves"].value.item() == pytest.approx(halves.item(), rel=1e-4)
    rise = np.exp(-5 * (1 - 0.45 / 0.75) ** 2)
    assert [terms[n].weight for n in ("shape", "mirror images", "mirror halves")] == pytest.approx(
        [rise] * 3
    )
    assert terms["shape"].share == pytest.approx(30 / 32)


def test_a_mirrored_image_is_its_own_mirror_image_inside_the_region():
    method, (batch, _) = make_method("ersr"), round_batch()
    found, _ = method.refine(batch, sure_teacher(build_nets(method, STILL, 2)), 1.0)
    x = torch.rand(batch.x_u.shape)
    whole = found.complete(x, x, True)
    assert torch.equal(whole[~found.region[:, None]], x[~found.region[:, None]])
    assert torch.equal(
        whole[(found.region & found.left)[:, None]], x[(found.region & found.left)[:, None]]
    )
    right = (found.region & ~found.left)[:, None]
    assert torch.allclose(whole[right], found.reflect(x)[right])


def test_points_on_two_crossing_lines_have_no_ellipse_and_raise_no_warning(recwarn):
    assert fit_shape(np.array([[3.0, 3.0], [0.0, 1.0], [1.0, 1.0], [3.0, 0.0], [3.0, 1.0]])) is None
    assert not recwarn.list
    circle = np.array([[np.cos(t), np.sin(t)] for t in range(6)])
    assert fit_shape(circle) is not None
    assert not recwarn.list


def test_failed_fits_and_irregular_patches_teach_nothing():
    method, (batch, _) = make_method("ersr"), round_batch()
    nets = sure_teacher(build_nets(method, STILL, 2))
    nets["scores"].store([f"scan {i}" for i in range(20)], [0.0] * 20)
    assert not method.refine(batch, nets, 0.4)[0].used.any()
    # both patches are less regular than the best 40 % of all scans; int(0.4 * 2) is 0
    used = method.refine(batch, nets, 0.5)[0].used.flatten(1).any(1)
    assert used.sum() == 1  # but at least half of the batch is kept, the more regular half
    blank = replace(batch, x_u=torch.zeros_like(batch.x_u))
    terms = method.losses(blank, nets, Progress(70, 100))
    assert [terms[n].value.item() for n in ("shape", "mirror images", "mirror halves")] == [0.0] * 3
    assert terms["shape"].share == 0.0


@pytest.mark.parametrize("shape", ["sphere", "ellipsoid"])
def test_two_hips_are_mirrored_at_the_plane_between_them(shape):
    size = (32, 16, 16)
    two = (
        np.minimum(
            ellipse(size, (7.0, 8.0, 8.0), (4.5,) * 3), ellipse(size, (24.0, 8.0, 8.0), (4.5,) * 3)
        )
        <= 1
    )
    batch = make_batch(2, size=16)
    method = make_method("ersr", {"shape": shape, "mirror": "sagittal"})
    batch = replace(
        batch, x_u=torch.from_numpy(two)[None, None].float().repeat(2, 1, 1, 1, 1), ids_u=("c", "d")
    )
    nets = sure_teacher(build_nets(method, STILL, 2))
    found, _ = method.refine(batch, nets, 1.0)
    assert found.used.all()
    assert torch.equal(found.left[0, :, 0, 0], torch.arange(32) < 15.5)
    x = torch.rand(batch.x_u.shape)
    assert torch.allclose(found.reflect(x), x.flip(2), atol=1e-3)
    assert torch.equal(found.region, found.mask)
    one = replace(batch, x_u=batch.x_u * (torch.arange(32) < 16).view(32, 1, 1))
    assert not method.refine(one, nets, 1.0)[
        0
    ].used.any()  # with one hip there is nothing to mirror
    assert torch.isfinite(
        sum(
            t.value
            for t in method.losses(
                replace(batch, x_l=x, y_l=torch.zeros(2, *size, dtype=torch.long)),
                nets,
                Progress(70, 100),
            ).values()
        )
    )


def head_case(i, two=False):
    rng = np.random.default_rng(i)
    size, heads = (32, 16, 16) if two else (24, 24, 16), []
    for side in range(2 if two else 1):
        middle = (7.0 + 17.0 * side, 8.0, 8.0) if two else (12.0, 12.0, 8.0)
        centre = np.array(middle) + rng.uniform(-1, 1, 3)
        heads.append(
            ellipse(
                size, centre, rng.uniform(4.0, 5.0) if two else rng.uniform((6, 5, 5), (8, 7, 7))
            )
        )
    label = (np.min(heads, 0) <= 1).astype(np.uint8)
    image = (label * 300.0 + rng.normal(0, 120, size) - 50).astype(np.int16)
    return Case(f"case{i}", f"patient{i}", image, label, np.diag([3.0, 3.0, 3.0, 1.0]))


def head_cohort(two=False):
    cases = [head_case(i, two) for i in range(8)]
    ids = [case.id for case in cases]
    return Cohort.from_cases(
        cases, Split(tuple(ids[:2]), tuple(ids[2:6]), (ids[6],), (ids[7],)), HEAD, "heads"
    )


@pytest.mark.parametrize(
    ("options", "config", "two"),
    [
        ({}, {"arch": "unet2d", "patch": (24, 24, 1)}, False),
        ({"shape": "ellipsoid"}, {"patch": (24, 24, 16)}, False),
        ({"shape": "sphere", "mirror": "sagittal"}, {"patch": (32, 16, 16)}, True),
    ],
)
def test_it_learns_on_slices_in_3d_and_on_two_hips_and_fits_are_found(
    options, config, two, tmp_path
):
    config = replace(SMALL, steps=60, validate_every=15, norm="instance", **config)
    history = train(
        make_method("ersr", options), head_cohort(two), config, tmp_path / "r", log=lambda s: None
    ).history
    scores = history["validation dice"].dropna()
    assert scores.iloc[-1] > max(0.7, scores.iloc[0] - 0.02)
    assert history["shape share"].iloc[-10:].mean() > 0.3


def test_labels_come_first_and_the_teacher_is_the_student_until_then():
    method = make_method("ersr")
    assert method.plan(Progress(24, 100), Plan(2, 2)) == Plan(2, 0)
    assert method.plan(Progress(25, 100), Plan(2, 2)) == Plan(2, 2)
    assert method.decay_at(Progress(24, 100)) == 0.0
    assert method.decay_at(Progress(25, 100)) == 0.99


def test_scores_are_those_of_scans_and_survive_a_run(tmp_path):
    run = train(
        make_method("ersr", {"pretrain": 0.0}),
        head_cohort(),
        replace(SMALL, steps=20, validate_every=20, patch=(24, 24, 16)),
        tmp_path / "r",
        log=lambda s: None,
    )
    assert (
        0 < int(run.nets["scores"].count) <= 4
    )  # four unlabelled scans, whatever the number of patches


def test_photometric_changes_are_drawn_for_every_patch():
    x = torch.rand(400, 1, 6, 6, 2)
    y = photometric(x, generator_for("cpu", 0))
    same = (x == y).flatten(1).all(1).float().mean().item()
    assert same == pytest.approx(0.8**4, abs=0.08)
    assert torch.equal(y, photometric(x, generator_for("cpu", 0)))
    assert torch.isfinite(photometric(torch.zeros(50, 1, 4, 4, 1), generator_for("cpu", 1))).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": "cube"}, "shape is 'cube'"),
        ({"mirror": "x"}, "mirror is 'x'"),
        ({"mirror": "sagittal"}, "needs a shape in 3D"),
    ],
)
def test_wrong_options_are_refused_and_right_ones_are_not(options, words):
    with pytest.raises(ConfigError, match=words):
        make_method("ersr", options)
    assert make_method("ersr", {"shape": "sphere", "mirror": "sagittal"}).options["reach"] == 0.0


def test_surface_points_lie_between_voxels_and_not_on_the_border():
    mask = np.zeros((4, 3), bool)
    mask[:2] = True
    assert surface_points(mask).tolist() == [[1.5, 0], [1.5, 1], [1.5, 2]]


def test_femurs_are_round_in_many_slices_of_the_synthetic_hips(tmp_path):
    longer = {"steps": 60, "validate_every": 60, "lr": 3e-3}
    before, after, run = trained_on_hips("ersr", tmp_path / "r", patch=(32, 32, 8), **longer)
    assert after > before + 0.1
    assert run.history["shape share"].iloc[-10:].mean() > 0.1


def test_the_heads_of_synthetic_femurs_are_found_and_two_hips_have_a_plane_between_them():
    cases, method = (
        {},
        make_method("ersr", {"shape": "sphere", "mirror": "sagittal", "reach": 1.25}),
    )
    for case in hips().training("labelled"):
        head = find_shape(pieces(case.label == 2, 1)[0], True, 1.25, 0.8)
        assert head.half_axes()[0] * case.spacing[0] == pytest.approx(
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
