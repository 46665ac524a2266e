"""ERSR: failed fits left out, scores of scans, and the terms against their equations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import in_float64
from teaching import assert_same_teaching, taught
from torch.nn import functional as F
from toy import SMALL, make_batch, trained_on_hips
from toy_step import HALF, STILL, rise

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Split
from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.methods.contract import Plan, Progress
from ssltut.methods.further.ersr import ERSR, photometric
from ssltut.methods.losses import supervised_loss
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
    assert table.limit(0.0) == 1.0  # the lowest one always counts
    table.store(["c", "d"], [5.0, 6.0])  # the table is full: a, the oldest, goes
    assert sorted(table.scores.tolist()) == [2.0, 5.0, 6.0]
    assert table.recall("c") == 5.0
    assert table.recall("a") is None


TERMS = ("shape", "mirror images", "mirror halves")


@pytest.mark.parametrize("step", [25, 60, 100])
def test_weight_and_share_of_masks_rise_in_the_second_stage(step, monkeypatch):
    method, (batch, _), shares = make_method("ersr"), round_batch(), []
    nets, plain = sure_teacher(build_nets(method, STILL, 2)), ERSR.refine

    def refine(self, batch, nets, share):
        shares.append(share)
        return plain(self, batch, nets, share)

    monkeypatch.setattr(ERSR, "refine", refine)
    terms = method.losses(batch, nets, Progress(step, 100))
    r = rise((step - 25) / 75)
    assert shares == pytest.approx([0.5 + 0.5 * r])
    assert [terms[name].weight for name in TERMS] == pytest.approx([2.0 * r] * 3)


def test_what_each_term_teaches_is_its_equation():
    """The repaired mask is fixed; mirrored predictions learn from both sides."""
    with in_float64():
        method, (batch, inside) = make_method("ersr", {"sigma_student": 0.0}), round_batch()
        nets = sure_teacher(build_nets(method, STILL, 2))
        found, _ = method.refine(batch, nets, 1.0)
        shown = torch.from_numpy(inside.any((1, 2))[:, None, None]).expand_as(found.used)
        assert torch.equal(found.used, shown)
        assert not found.mask[1, ..., 14:].any()
        assert (found.mask.numpy() == inside)[found.used.numpy()].mean() > 0.97
        terms = method.losses(batch, nets, Progress(100, 100))
        p = nets["student"](batch.x_u).logits.softmax(1)[:, 1]
        n, images, halves = found.used.sum(), 0.0, 0.0
        expected = {"shape": ((p - found.mask.double()).square() * found.used).sum() / n}
        for left in (True, False):
            own = found.left if left else ~found.left
            half, image = (
                photometric(batch.x_u, batch.generator(key, left))[:, 0]
                for key in ("half", "mirror image")
            )
            assert not torch.equal(half, image)
            redrawn = torch.where(own, half, reflected(image, found))
            x = torch.where(found.region, redrawn, batch.x_u[:, 0])
            q = nets["student"](x[:, None]).logits.softmax(1)[:, 1]
            aim = torch.where(found.region & ~own, reflected(p, found), p)
            images = images + ((q - aim).square() * found.used).sum() / n / 2
            kept = found.region & found.left
            halves = halves + ((q - reflected(q, found)).square() * kept).sum() / n / 2
        expected |= {"mirror images": images, "mirror halves": halves}
        for name, loss in expected.items():
            assert_same_teaching(terms[name].value, loss, nets)
            assert terms[name].share == pytest.approx(30 / 32)
            assert taught(terms[name].value, nets) == {"student"}
        own = supervised_loss(nets["student"](batch.x_l).logits, batch.y_l)
        assert_same_teaching(terms["supervised"].value, own, nets)


def reflected(v, found):
    """(B, X, Y, Z) as seen in the mirror."""
    options = {"padding_mode": "border", "align_corners": False}
    return F.grid_sample(v[:, None], found.partner.to(v), **options)[:, 0]


def test_a_mirrored_image_is_its_own_mirror_image_inside_the_region():
    method, (batch, _) = make_method("ersr"), round_batch()
    found, _ = method.refine(batch, sure_teacher(build_nets(method, STILL, 2)), 1.0)
    x, other = torch.rand(2, *batch.x_u.shape)
    whole = found.complete(x, x, other, True)
    region, left = found.region[:, None], found.left[:, None]
    assert torch.equal(whole[~region], x[~region])
    assert torch.equal(whole[region & left], x[region & left])
    assert torch.allclose(whole[region & ~left], found.reflect(other)[region & ~left])


def ragged_batch(n):
    """``n`` unlabelled patches of an ellipse, each with more voxels flipped than the one before."""
    batch, inside = round_batch()
    flips = np.random.default_rng(0).random(inside[0].shape)
    masks = [inside[0] ^ (flips < 0.01 * i) for i in range(n)]
    ids = tuple(f"scan {i}" for i in range(n))
    return replace(batch, x_u=torch.from_numpy(np.stack(masks))[:, None].float(), ids_u=ids)


@pytest.mark.parametrize(("order", "least"), [([0, 1], 1), ([3, 0, 2, 4, 1], 4)])
def test_the_most_regular_masks_of_all_scans_count_and_four_fifths_of_a_batch(order, least):
    method = make_method("ersr", {"overlap": 0.0})
    batch = ragged_batch(len(order))
    batch = replace(batch, x_u=batch.x_u[order], ids_u=tuple(batch.ids_u[i] for i in order))
    nets = sure_teacher(build_nets(method, STILL, 2))

    def kept(share):
        used = method.refine(batch, nets, share)[0].used.flatten(1).any(1)
        return {order[i] for i in used.nonzero()[:, 0].tolist()}

    scores = method.refine(batch, nets, 1.0)[1]
    assert sorted(scores, key=scores.get) == [f"scan {i}" for i in range(len(order))]
    assert kept(1.0) == set(order)
    nets["scores"].store([f"other {i}" for i in range(20)], [0.0] * 20)  # all are more regular
    assert kept(0.6) == set(range(least))
    assert kept(1.0) == set(order)
    nets["scores"].store([f"other {i}" for i in range(20)], [9.0] * 20)  # all are less so
    assert kept(0.8) == set(order)


def test_a_patch_without_its_target_or_without_a_shape_teaches_nothing():
    method, (batch, _) = make_method("ersr"), round_batch()
    nets = sure_teacher(build_nets(method, STILL, 2))
    blank = replace(batch, x_u=torch.zeros_like(batch.x_u))
    found, scores = method.refine(blank, nets, 1.0)
    assert scores == {}
    assert not found.used.any()
    terms = method.losses(blank, nets, Progress(70, 100))
    assert [terms[name].value.item() for name in TERMS] == [0.0] * 3
    assert terms["shape"].share == 0.0


def test_masks_are_those_of_the_teacher_in_eval_mode_and_the_student_learns_in_train_mode():
    method, (batch, _) = make_method("ersr"), round_batch()
    nets = build_nets(method, replace(STILL, dropout=0.5, norm="batch"), 2)
    with torch.no_grad():
        nets["teacher"].classifier.bias.copy_(torch.tensor([0.0, 9.0]))
    first, second = (method.refine(batch, nets, 1.0) for _ in range(2))
    assert first[1] == second[1]
    assert torch.equal(first[0].mask, second[0].mask)
    nets = sure_teacher(nets)
    seen = [method.forward(batch, nets, HALF)["student"].whole.logits for _ in range(2)]
    assert not torch.equal(*seen)
    assert len(seen[0]) == 8


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


@pytest.mark.parametrize(
    ("step", "unlabelled", "decay"),
    [(0, 0, 0), (249, 0, 0), (250, 2, 0), (251, 2, 1 / 2), (270, 2, 20 / 21), (999, 2, 0.99)],
)
def test_labels_come_first_and_the_teacher_is_the_student_until_then(step, unlabelled, decay):
    method, progress = make_method("ersr"), Progress(step, 1000)
    assert method.plan(progress, Plan(2, 2)) == Plan(4 - unlabelled, unlabelled)
    assert method.decay_at(progress) == pytest.approx(decay)


def test_scores_are_those_of_scans_and_forgotten_after_an_epoch():
    method, (batch, _) = make_method("ersr", {"epoch": 3}), round_batch()
    nets, held = sure_teacher(build_nets(method, STILL, 2)), []
    for step in range(30, 36):
        progress = Progress(step, 100)
        outs = method.forward(batch, nets, progress)
        assert list(outs["scores"]) == ["c", "d"]
        method.update(batch, nets, outs, progress)
        held.append(nets["scores"].filled)
    assert held == [2, 2, 0, 2, 2, 0]


def test_photometric_changes_are_drawn_for_every_patch():
    x = torch.rand(400, 1, 6, 6, 2)
    y = photometric(x, generator_for("cpu", 0))
    same = (x == y).flatten(1).all(1).float().mean().item()
    assert same == pytest.approx(0.8**4, abs=0.08)
    assert torch.equal(y, photometric(x, generator_for("cpu", 0)))
    assert torch.isfinite(photometric(torch.zeros(50, 1, 4, 4, 1), generator_for("cpu", 1))).all()
    # Neither a power nor a blur changes a flat patch: what is left is a shift and noise.
    flat = photometric(torch.full((4000, 1, 4, 4, 4), 0.3), generator_for("cpu", 2)) - 0.3
    shift = flat.mean((1, 2, 3, 4))
    assert (shift.abs() > 1e-5).float().mean().item() == pytest.approx(1 - 0.8**2, abs=0.03)
    assert shift.abs().max() < 0.13
    assert shift.mean().item() == pytest.approx(0.0, abs=0.003)
    noise = flat.std((1, 2, 3, 4))
    assert noise[noise > 0.01].mean().item() == pytest.approx(0.05, rel=0.02)


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
