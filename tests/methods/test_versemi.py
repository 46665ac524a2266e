"""VerSemi: prompts, partial labels that stay partial, and the terms against their equations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import in_float64
from partial_labels import partially_labelled
from teaching import gradients_of
from torch.nn import functional as F
from toy import SMALL, hips, make_batch, total, toy_cohort, trained_on_hips
from toy_step import STILL

from ssltut.data.case import LABELLED
from ssltut.data.patches import Intensity, PatchPool
from ssltut.errors import ConfigError
from ssltut.methods.contract import Plan, Progress
from ssltut.methods.parts.perturb import box_mask, uniform
from ssltut.methods.registry import make_method
from ssltut.nets.base import Out
from ssltut.nets.build import build_net
from ssltut.nets.heads import Head
from ssltut.nets.prompted import FEATURES
from ssltut.training.batches import draw_batch
from ssltut.training.loop import train
from ssltut.training.networks import build_nets, start_from

EARLY, LATE = Progress(10, 100), Progress(50, 100)
# The first patch has labels of class 1 alone, the second of class 2.
ONE_EACH = torch.tensor([[True, True, False], [True, False, True]])


def prompted(arch="unet", n_classes=3):
    return build_net(
        arch,
        1,
        n_classes,
        width=4,
        depth=2,
        dropout=0.0,
        norm="instance",
        seed=0,
        heads={"prompts": Head(prompts=True)},
    )


def dice(p, y, mask):
    """Dice loss of foreground probabilities (B, X, Y, Z) from its definition, float64."""
    p, y = p.double() * mask, y.double() * mask
    return 1 - (2 * (p * y).sum() + 1e-5) / (p.sum() + y.sum() + 1e-5)


@pytest.mark.parametrize("arch", ["unet", "vnet", "unet2d"])
def test_a_prompt_makes_the_three_layers_of_its_sample(arch):
    net, x = prompted(arch), torch.randn(2, 1, 8, 8, 8)
    out, body = net(x, heads=True), net.body(x)
    assert FEATURES == 8
    assert net.controller.out_channels == 162
    for b in range(2):
        for task in range(3):
            for z in (0, 5):
                map_ = body.feats["bottleneck"][b]
                seen = map_[..., z].mean((1, 2)) if arch == "unet2d" else map_.mean((1, 2, 3))
                made = (
                    net.controller.weight[:, :, 0, 0, 0]
                    @ torch.cat([seen, F.one_hot(torch.tensor(task), 3)])
                    + net.controller.bias
                )
                h = body.logits[b, :, 2, 3, z]
                h = (made[:64].view(8, 8) @ h + made[64:72]).relu()
                h = (made[72:136].view(8, 8) @ h + made[136:144]).relu()
                h = made[144:160].view(2, 8) @ h + made[160:]
                assert out.heads["prompts"][b, task, 2, 3, z].item() == pytest.approx(
                    (h[1] - h[0]).item(), abs=1e-4
                )


def test_the_main_output_joins_the_answers():
    net, x = prompted(n_classes=2), torch.randn(1, 1, 8, 8, 8)
    out = net(x, heads=True)
    assert torch.allclose(
        out.logits.softmax(1)[:, 1], out.heads["prompts"][:, 1].sigmoid(), atol=1e-6
    )
    assert net(x).heads == {}
    three = prompted()(x, heads=True)
    assert torch.equal(three.logits.argmax(1) == 0, (three.heads["prompts"][:, 1:] <= 0).all(1))


@pytest.mark.parametrize("progress", [EARLY, LATE])
def test_hidden_classes_never_enter_a_loss(progress):
    """Whatever a hidden class's label is, and whatever its prompt says of the patch, no term and no
    gradient changes.
    """
    method, batch = make_method("versemi"), replace(make_batch(), known=ONE_EACH)
    y = batch.y_l.clone()
    y[0][y[0] == 2] = 0  # as hidden classes look in a partially labelled scan
    y[1][y[1] == 1] = 0
    found = {}
    for kind, label in (("hidden", y), ("told", batch.y_l)):
        nets = build_nets(method, STILL, 3)
        terms = method.losses(replace(batch, y_l=label), nets, progress)
        total(terms).backward()
        found[kind] = (
            {n: t.value.item() for n, t in terms.items()},
            [p.grad.clone() for p in nets["student"].parameters()],
        )
    assert found["hidden"][0] == found["told"][0]
    assert all(torch.equal(a, b) for a, b in zip(found["hidden"][1], found["told"][1], strict=True))


@pytest.mark.parametrize("progress", [EARLY, LATE])
def test_no_voxel_that_may_hide_a_class_is_taught_to_be_background(progress):
    """The gradient on the answers: a prompt learns in patches where its class is labelled; that for
    any class not where one may hide.
    """
    method, answers = make_method("versemi", {"sigma_student": 0.0}), []
    batch = replace(make_batch(), known=ONE_EACH, x_u=None)
    nets = build_nets(method, STILL, 3)
    forward = nets["student"].forward

    def kept(*args, **options):
        out = forward(*args, **options)
        out.heads["prompts"].retain_grad()
        answers.append(out.heads["prompts"])
        return out

    nets["student"].forward = kept
    total(method.losses(batch, nets, progress)).backward()
    gradient = answers[0].grad
    own, mixed = gradient[:2], gradient[2:]
    assert not own[0, 2].any()
    assert not own[1, 1].any()
    assert own[0, 1].any()
    assert own[1, 2].any()
    assert not own[:, 0].any()
    keep = box_mask((8, 8, 8), *_box(batch, progress))
    foreground = torch.where(keep, batch.y_l[0] == 1, batch.y_l[1] == 2)
    assert torch.equal(mixed[0, 0] != 0, foreground)
    if progress == EARLY:
        assert not mixed[0, 1][~keep].any()
        assert not mixed[0, 2][keep].any()
        assert mixed[0, 1][keep].all()
        assert mixed[0, 2][~keep].all()


def _box(batch, progress):
    draw = batch.generator("box")
    return (2 / 3 if progress == EARLY else float(uniform(draw, (), 0.3, 0.6))), draw


@pytest.mark.parametrize("known", [None, ONE_EACH])
@pytest.mark.parametrize("union", ["known", "labelled"])
@pytest.mark.parametrize("progress", [EARLY, LATE])
def test_every_term_and_its_gradients_against_its_equation(known, union, progress):
    with in_float64():
        method = make_method("versemi", {"sigma_student": 0.0, "union": union, "weight": 0.5})
        batch = replace(make_batch(), known=known)
        batch = batch if progress == LATE else replace(batch, x_u=None)
        nets = build_nets(method, STILL, 3)
        terms = method.losses(batch, nets, progress)
        expected = by_equation(method, batch, nets, progress)
        assert terms.keys() == expected.keys()
        for name, value in expected.items():
            assert terms[name].value.item() == pytest.approx(value.item(), rel=1e-6)
            assert terms[name].weight == (0.5 if name in ("consistency", "labelled part") else 1)
            ours, theirs = gradients_of(terms[name].value, nets), gradients_of(value, nets)
            assert ours.keys() == theirs.keys()
            for key, gradient in ours.items():
                torch.testing.assert_close(gradient, theirs[key], rtol=1e-4, atol=1e-9)


def by_equation(method, batch, nets, progress):
    known, whole = batch.known, batch.known is None
    k = torch.ones(2, 3, dtype=torch.bool) if whole else known

    def answers(x):
        return nets["student"](x, heads=True).heads["prompts"]

    keep, z, supervised = box_mask((8, 8, 8), *_box(batch, progress)), answers(batch.x_l), []
    for c in (1, 2):
        rows = [i for i in range(2) if k[i, c]]
        p, t = z[rows, c].sigmoid(), (batch.y_l[rows] == c).double()
        supervised.append(F.binary_cross_entropy(p, t) + dice(p, t, torch.ones_like(t)))
    (x_a, x_b), (y_a, y_b) = batch.x_l, batch.y_l
    mixed = answers(torch.where(keep, x_a, x_b)[None])
    seen = torch.where(keep, y_a * k[0][y_a], y_b * k[1][y_b])
    counts = (seen > 0) | whole | (method.union == "labelled")
    expected = {
        "supervised": sum(supervised) / 2,
        "any": dice(mixed[0, 0].sigmoid(), seen > 0, counts),
    }
    if progress == EARLY:
        parts = [
            dice(mixed[0, c].sigmoid(), seen == c, torch.where(keep, k[0, c], k[1, c]))
            for c in (1, 2)
        ]
        return expected | {"pasted": sum(parts) / 2}
    u = answers(torch.where(keep, batch.x_u, batch.x_l)).sigmoid()
    p, q = u[:, 0], u[:, 1:].max(1).values
    own = torch.stack([y_a * k[0][y_a], y_b * k[1][y_b]])
    counts = ((own > 0) | whole | (method.union == "labelled")) & ~keep
    return expected | {
        "consistency": 1 - (2 * (p * q).sum() + 1e-5) / ((p**2 + q**2).sum() + 1e-5),
        "labelled part": dice(p, own > 0, counts),
    }


def test_all_views_are_one_pass_in_train_mode():
    """With batch norm and dropout, under the noise of the student."""
    method, batch = make_method("versemi", {"sigma_student": 0.5}), make_batch()
    nets = build_nets(method, replace(SMALL, norm="batch", dropout=0.15), 3)
    torch.manual_seed(0)
    outs = method.forward(batch, nets, LATE)
    keep = outs["keep"]
    views = {
        "labelled": batch.x_l,
        "mix": torch.where(keep, batch.x_l[:1], batch.x_l[1:]),
        "unlabelled": torch.where(keep, batch.x_u, batch.x_l),
    }
    x = [batch.noise(0.5, "student", key)(view) for key, view in views.items()]
    torch.manual_seed(0)
    answers = nets["student"](torch.cat(x), heads=True).heads["prompts"]
    assert torch.equal(answers, torch.cat([outs["own"], outs["mixed"], outs["pasted"]]))


def box_side(t):
    """Of the box in a patch of 30 voxels a side, at t of 100 steps."""
    method, batch = make_method("versemi"), make_batch(size=30)
    nets = {"student": lambda x, heads: Out(x, {}, {"prompts": x})}
    keep = method.forward(batch, nets, Progress(t, 100))["keep"]
    return round(int((~keep).sum()) ** (1 / 3))


def test_the_box_is_two_thirds_of_the_patch_in_the_first_half_then_drawn():
    assert [box_side(t) for t in (0, 25, 49)] == [20, 20, 20]
    assert all(9 <= box_side(t) <= 18 for t in (50, 99))


def test_the_consistency_teaches_both_sides():
    method, batch = make_method("versemi"), make_batch()
    nets = build_nets(method, STILL, 3)
    answers = []
    forward = nets["student"].forward
    nets["student"].forward = lambda *args, **options: (
        answers.append(forward(*args, **options)) or answers[-1]
    )
    term = method.losses(batch, nets, LATE)["consistency"].value
    (gradient,) = torch.autograd.grad(term, answers[0].heads["prompts"])
    assert gradient[-2:, 0].abs().sum() > 0
    assert gradient[-2:, 1:].abs().sum() > 0
    assert not gradient[:-2].any()


def test_unlabelled_patches_come_in_the_second_stage():
    method, own = make_method("versemi", {"rate": 3.0}), {"student": 3.0}
    assert method.plan(Progress(0, 100), Plan(2, 2)) == Plan(4, 0, own)
    assert method.plan(Progress(49, 100), Plan(2, 2)) == Plan(4, 0, own)
    assert method.plan(LATE, Plan(2, 2)) == Plan(2, 2, own)
    assert make_method("versemi").plan(LATE, Plan(2, 2)).rates == {"student": 1.0}


def test_a_cohort_of_three_sources_keeps_what_each_labelled():
    cohort = partially_labelled(
        toy_cohort(labelled=3), ["femur"], ["hip bone"], ["hip bone", "femur"]
    )
    labels = [np.unique(case.label).tolist() for case in cohort.training("labelled")]
    assert labels == [[0, 2], [0, 1], [0, 1, 2]]
    assert [case.meta[LABELLED] for case in cohort.training("labelled")] == [(2,), (1,), (1, 2)]
    assert np.unique(cohort.validation()[0].label).tolist() == [0, 1, 2]
    assert cohort.hash != toy_cohort(labelled=3).hash
    assert all(
        np.array_equal(case.label, whole.label)
        for case, whole in zip(cohort.test(), toy_cohort(labelled=3).test(), strict=True)
    )


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ((["skull"],), "no class skull"),
        ((), "no class given"),
        ((["femur"], []), "no class given"),
        ((["background"],), "no class background"),
    ],
)
def test_sources_of_unknown_classes_are_refused(kept, words):
    with pytest.raises(ConfigError, match=words):
        partially_labelled(toy_cohort(), *kept)


def test_scans_that_lack_bones_have_no_bone_view_and_others_have():
    cohort = partially_labelled(toy_cohort(), ["femur"]).as_bone()
    assert cohort.validation()[0].label.max() == 1
    with pytest.raises(ConfigError, match="not every bone is labelled"):
        cohort.training("labelled")


def test_the_batch_says_which_classes_are_labelled_in_each_patch():
    def batch_of(cohort):
        cases = cohort.training("labelled")
        return draw_batch(
            PatchPool(cases, Intensity.of(cases), SMALL.patch, "cpu"), None, Plan(6, 0), SMALL, 3, 0
        )

    assert batch_of(toy_cohort()).known is None
    assert batch_of(toy_cohort()).known_classes().all()
    batch = batch_of(partially_labelled(toy_cohort(), ["femur"], ["hip bone"]))
    expected = {"case0": [True, False, True], "case1": [True, True, False]}
    assert set(batch.ids_l) == set(expected)
    assert batch.known.tolist() == [expected[i] for i in batch.ids_l]


def test_a_prompted_network_starts_anew_from_another_run(tmp_path):
    run = train(
        make_method("labels_only"),
        toy_cohort(),
        replace(SMALL, steps=2),
        tmp_path / "r",
        log=lambda s: None,
    )
    method = make_method("versemi")
    nets, fresh = build_nets(method, SMALL, 3), build_nets(method, SMALL, 3)
    start_from(nets, method, run.folder)
    assert all(
        torch.equal(v, fresh["student"].state_dict()[k])
        for k, v in nets["student"].state_dict().items()
    )


def test_wrong_options_are_refused_and_right_ones_are_not():
    with pytest.raises(ConfigError, match="union is "):
        make_method("versemi", {"union": "all"})
    assert make_method("versemi", {"union": "labelled"}).union == "labelled"


def test_it_learns_the_hips_from_three_partial_sources(tmp_path):
    cohort = partially_labelled(
        hips().with_budget(3), ["femur"], ["hip bone"], ["hip bone", "femur"]
    )
    before, after, run = trained_on_hips(
        "versemi", tmp_path / "r", cohort, labelled=3, patch=(32, 32, 16)
    )
    assert after > before + 0.1
    with torch.no_grad():
        case = cohort.validation()[0]
        x = torch.from_numpy(run.intensity.normalise(case.image))[None, None]
        any_bone = run.nets["student"](x, heads=True).heads["prompts"][0, 0] > 0
    bone = torch.from_numpy(case.label > 0)
    assert 2 * (any_bone & bone).sum() / (any_bone.sum() + bone.sum()) > 0.5  # all foreground: 0.16
