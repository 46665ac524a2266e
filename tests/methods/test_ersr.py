"""ERSR: failed fits left out, scores of scans, and the terms against their equations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import SMALL, make_batch, trained_on_hips
from toy_step import STILL

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Split
from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.methods.contract import Plan, Progress
from ssltut.methods.further.ersr import photometric
from ssltut.methods.parts.memory import ScoreTable
from ssltut.methods.registry import make_method
from ssltut.seeding import generator_for
from ssltut.training.loop import train
from ssltut.training.networks import build_nets

HEAD = LabelTable("head", ("background", "femoral head"), ("#000000", "#56B4E9"))


def ellipse(size, centre, half_axes, turn=None):
    """d² of every voxel of a known ellipse or ellipsoid, from its definition."""
    turn = np.eye(len(size)) if turn is None else turn
    x = (np.moveaxis(np.indices(size, float), 0, -1) - centre) @ turn
    return ((x / half_axes) ** 2).sum(-1)


def rotation(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


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


def test_femurs_are_round_in_many_slices_of_the_synthetic_hips(tmp_path):
    longer = {"steps": 60, "validate_every": 60, "lr": 3e-3}
    before, after, run = trained_on_hips("ersr", tmp_path / "r", patch=(32, 32, 8), **longer)
    assert after > before + 0.1
    assert run.history["shape share"].iloc[-10:].mean() > 0.1
