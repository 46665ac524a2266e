"""M&N: who learns when and from how many unlabelled patches, the frozen partner, and what the 2D
network may be.
"""

import math
from dataclasses import replace

import pytest
import torch
from golden import in_float64
from teaching import gradients_of, taught
from toy import SMALL, EachStep, make_batch, toy_cohort

from ssltut.errors import CheckpointError, ConfigError
from ssltut.methods.contract import Network, Plan, Progress
from ssltut.methods.further.mn import distillation_loss
from ssltut.methods.losses import supervised_loss
from ssltut.methods.registry import METHODS, make_method
from ssltut.nets.build import build_net
from ssltut.nets.modes import eval_mode
from ssltut.nets.slices import Slices
from ssltut.training.batch_norm import precise_batch_norm
from ssltut.training.batches import draw_batch
from ssltut.training.loop import train
from ssltut.training.networks import build_nets

FIRST, SLICES, VOLUMES = Progress(6, 100), Progress(55, 100), Progress(56, 100)


def small_2d(in_channels: int, n_classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(in_channels, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(4, n_classes, 1),
    )


OWN = f"{__name__}:small_2d"


def own_updates(method, total, role):
    """The steps in which a network learns."""
    return [t for t in range(total) if role in method.learners(Progress(t, total))]


@pytest.mark.parametrize("role", ["student", "slices"])
def test_each_network_has_the_published_schedules_over_its_own_updates(role):
    """Of its 4000 updates 500 are with labels alone, as the epochs of the published run."""
    method, total = make_method("mn", {"rate_2d": 10.0}), 500 + 2 * 3500
    own = own_updates(method, total, role)
    plans = [method.plan(Progress(t, total), Plan(3, 2)) for t in own]
    rates = [plan.rates[role] / {"student": 1.0, "slices": 10.0}[role] for plan in plans]
    assert len(own) == 4000
    assert [plan.unlabelled for plan in plans[:500]] == [0] * 500
    assert [plan.unlabelled for plan in plans[500:]] == [5 * i // 3500 for i in range(3500)]
    assert all(plan.labelled + plan.unlabelled == 5 for plan in plans)
    for i, rate in {0: 0.01, 25: 0.505, 50: 1.0, 275: 0.5, 500: 1.0, 500 + 1750: 0.5}.items():
        assert rates[i] == pytest.approx(rate)
    assert rates[500 + 875] == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 4))
    assert rates[499] < 1e-4
    assert rates[-1] < 1e-6


@pytest.mark.parametrize(("total", "turn"), [(100, 1), (100, 3), (601, 1), (7, 2), (1, 1)])
def test_the_last_update_of_each_network_ends_its_schedule(total, turn):
    """Whatever does not divide: no share or rate is that of a step that never comes."""
    method = make_method("mn", {"turn": turn})
    for role in ("student", "slices"):
        later = [Progress(t, total) for t in own_updates(method, total, role)]
        later = [progress for progress in later if method.turn_at(progress).stage == 2]
        done = [method.turn_at(progress).done for progress in later]
        assert done == pytest.approx([i / len(later) for i in range(len(later))])


@pytest.mark.parametrize(("turn", "pattern"), [(1, "2323232323"), (3, "2223332223")])
def test_both_learn_first_then_they_take_turns(turn, pattern):
    method = make_method("mn", {"turn": turn})
    names = {"2": ("slices",), "3": ("student",)}
    first = [method.learners(Progress(t, 150)) for t in range(10)]
    assert first == [("student", "slices")] * 10
    later = [method.learners(Progress(10 + t, 150)) for t in range(10)]
    assert later == [names[c] for c in pattern]


def test_the_title_says_whether_it_is_pre_trained():
    assert make_method("mn").title == METHODS["mn"].title == "M&N without pre-training"
    assert make_method("mn", {"weights": "w.safetensors"}).title == "M&N"


def test_the_rate_of_each_role_reaches_its_weights(tmp_path, monkeypatch):
    method = make_method("mn", {"pretrain": 1.0})
    monkeypatch.setattr(type(method), "rates", lambda self, progress: {"slices": 0.0})
    run = train(
        method,
        toy_cohort(),
        replace(SMALL, steps=2, select="last"),
        tmp_path / "r",
        log=lambda s: None,
    )
    start = build_nets(method, SMALL, 3)
    moved = {
        role: any(
            not torch.equal(p, q)
            for p, q in zip(start[role].parameters(), run.nets[role].parameters(), strict=True)
        )
        for role in start
    }
    assert moved == {"student": True, "slices": False}


TURNS = [(SLICES, "slices", "student"), (VOLUMES, "student", "slices")]


@pytest.mark.parametrize(("progress", "learner", "frozen"), TURNS)
def test_terms_and_gradients_with_batch_norm_and_dropout(progress, learner, frozen):
    """The learner in train mode; its partner, in eval mode, gives a fixed target and stays."""
    own = "supervised" if learner == "student" else "slices supervised"
    with in_float64():
        method, batch = make_method("mn", {"sigma_student": 0.0, "weight": 0.5}), make_batch()
        batch = replace(batch, x_u=torch.cat([batch.x_u, batch.x_l[:1]]))
        nets = build_nets(method, replace(SMALL, dropout=0.15, norm="batch"), 3)
        before = {k: v.clone() for k, v in nets[frozen].state_dict().items()}
        torch.manual_seed(0)
        terms = method.losses(batch, nets, progress)
        torch.manual_seed(0)
        logits = nets[learner](torch.cat([batch.x_l, batch.x_u])).logits
        with eval_mode(nets[frozen]):
            q = nets[frozen](batch.x_u).logits.softmax(1).detach()
        p, over = logits[2:].softmax(1), (0, 2, 3, 4)
        dice = 1 - (2 * (p * q).sum(over) / ((p**2).sum(over) + (q**2).sum(over))).mean()
        expected = {
            own: (supervised_loss(logits[:2], batch.y_l), 2 / 5),
            f"{learner} pseudo-masks": (dice + (q * (q.log() - p.log())).mean(), 0.5 * 3 / 5),
        }
        assert terms.keys() == expected.keys()
        for name, (value, weight) in expected.items():
            assert terms[name].value.item() == pytest.approx(value.item(), rel=1e-6)
            assert terms[name].weight == pytest.approx(weight)
            assert taught(terms[name].value, nets) == {learner}
            theirs = gradients_of(value, nets)
            for key, gradient in gradients_of(terms[name].value, nets).items():
                torch.testing.assert_close(gradient, theirs[key], rtol=1e-4, atol=1e-9)
    assert all(torch.equal(before[k], v) for k, v in nets[frozen].state_dict().items())


def test_first_both_learn_from_labels_alone():
    method, batch = make_method("mn"), replace(make_batch(), x_u=None)
    nets = build_nets(method, SMALL, 3)
    terms = method.losses(batch, nets, FIRST)
    assert {name: term.weight for name, term in terms.items()} == {
        "supervised": 1.0,
        "slices supervised": 1.0,
    }
    assert taught(terms["supervised"].value, nets) == {"student"}
    assert taught(terms["slices supervised"].value, nets) == {"slices"}


def test_a_run_moves_only_the_network_whose_turn_it_is(tmp_path):
    seen = []

    def keep(step, nets, batch, terms):
        seen.append(
            {role: [p.detach().clone() for p in net.parameters()] for role, net in nets.items()}
        )

    train(
        make_method("mn", {"turn": 2, "pretrain": 0.4}),
        toy_cohort(),
        replace(SMALL, steps=8, validate_every=8),
        tmp_path / "r",
        callbacks=[EachStep(keep)],
        log=lambda s: None,
    )
    for step in range(2, 8):
        moved = {
            role
            for role in seen[0]
            if any(
                not torch.equal(a, b)
                for a, b in zip(seen[step - 1][role], seen[step][role], strict=True)
            )
        }
        assert moved == {"slices" if step // 2 % 2 == 1 else "student"}, step


def test_a_network_without_a_turn_keeps_its_averages_in_precise_batch_norm():
    from ssltut.data.patches import Intensity, PatchPool

    method, cohort = make_method("mn"), toy_cohort()
    nets = build_nets(method, SMALL, 3)
    cases = cohort.training("labelled")
    pool = PatchPool(cases, Intensity.of(cases), SMALL.patch, "cpu")
    batches = [draw_batch(pool, pool, Plan(2, 2), SMALL, 3, step) for step in range(2)]
    with torch.no_grad():
        for net in nets.values():
            net(batches[0].x_l)
    precise = precise_batch_norm(method, nets, batches, SLICES)

    def averages(found, role):
        return [
            m.running_mean for m in found[role].modules() if isinstance(m, torch.nn.BatchNorm3d)
        ]

    assert all(
        torch.equal(a, b)
        for a, b in zip(averages(nets, "student"), averages(precise, "student"), strict=True)
    )
    assert not any(
        torch.equal(a, b)
        for a, b in zip(averages(nets, "slices"), averages(precise, "slices"), strict=True)
    )


def test_to_learn_from_oneself_costs_nothing_and_a_sure_target_costs_its_cross_entropy():
    z = torch.randn(1, 3, 4, 4, 4)
    assert distillation_loss(z, z.softmax(1)).item() == pytest.approx(0.0, abs=1e-5)
    one = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1)
    dice = (
        1 - (2 * 0.5 / (1 + 0.25) + 0) / 2
    )  # the second class is absent from the target and half there
    assert distillation_loss(torch.zeros(1, 2, 1, 1, 1), one).item() == pytest.approx(
        dice + math.log(2) / 2, abs=1e-4
    )


def test_any_2d_network_can_be_passed_and_trained(tmp_path):
    method = make_method("mn", {"backbone": OWN})
    net, x = build_nets(method, SMALL, 3)["slices"], torch.randn(2, 1, 8, 8, 4)
    assert isinstance(net, Slices)
    assert torch.allclose(net(x).logits[1, :, :, :, 2], net.net(x[1:, :, :, :, 2])[0], atol=1e-6)
    assert isinstance(
        build_nets(method, replace(SMALL, arch="unet2d"), 3)["slices"], Slices
    )  # its name is no kind of ours
    run = train(method, toy_cohort(), SMALL, tmp_path / "r", log=lambda s: None)
    assert run.history["total"].notna().all()
    assert isinstance(run.nets["slices"], Slices)
    same = build_nets(method, SMALL, 3)["slices"].state_dict()
    assert all(
        torch.equal(v, same[k]) for k, v in net.state_dict().items()
    )  # seeded as every network


@pytest.mark.parametrize("where", ["no_such_module:make", f"{__name__}:no_such_function"])
def test_a_backbone_that_is_not_there_is_refused(where):
    with pytest.raises(ConfigError, match="there is no network"):
        build_nets(make_method("mn", {"backbone": where}), SMALL, 3)


@pytest.mark.parametrize("kind", ["safetensors", "run", "none"])
def test_pretrained_weights_come_from_disk_and_without_any_it_says_so(kind, tmp_path):
    from safetensors.torch import save_file

    config, said, first = replace(SMALL, arch="unet2d", steps=2, lr=1e-9), [], tmp_path / "2d"
    weights = build_net(
        "unet2d", 1, 3, width=4, depth=2, dropout=0.15, norm="batch", seed=99
    ).state_dict()
    if kind == "run":
        weights = (
            train(make_method("labels_only"), toy_cohort(), config, first, log=lambda s: None)
            .nets["student"]
            .state_dict()
        )
        path = first
    elif kind != "none":
        path = tmp_path / "w.safetensors"
        save_file({name: value.contiguous() for name, value in weights.items()}, path)
    options = {} if kind == "none" else {"weights": str(path)}
    run = train(
        make_method("mn", options),
        toy_cohort(),
        replace(config, arch="unet"),
        tmp_path / "r",
        log=said.append,
    )
    close = all(
        torch.allclose(weights[k], v, atol=1e-6)
        for k, v in run.nets["slices"].state_dict().items()
        if "running" not in k and "tracked" not in k
    )
    assert close == (kind != "none")
    assert any("starts at random" in line for line in said) == (kind == "none")


def test_weights_that_are_missing_damaged_or_of_another_network_are_refused(tmp_path):
    from safetensors.torch import save_file

    from ssltut.training.checkpoint import load_pretrained

    net = Slices(small_2d(1, 3))
    (tmp_path / "bad").write_bytes(b"nonsense")
    torch.save(small_2d(1, 3).state_dict(), tmp_path / "pickled.pt")
    save_file(small_2d(1, 5).state_dict(), tmp_path / "other")
    for name, words in (
        ("none", "cannot be read"),
        ("bad", "cannot be read"),
        ("pickled.pt", "cannot be read"),
        ("other", "do not fit"),
    ):
        with pytest.raises(CheckpointError, match=words):
            load_pretrained(net, tmp_path / name)


def test_other_weights_are_another_run(tmp_path):
    from safetensors.torch import save_file

    from ssltut.training.run import run_identity

    def digest(options):
        return run_identity(make_method("mn", options), SMALL, toy_cohort(), None)["hash"]

    path = tmp_path / "w.safetensors"
    save_file(small_2d(1, 3).state_dict(), path)
    first = digest({"weights": str(path)})
    save_file(small_2d(1, 3).state_dict(), path)
    assert first != digest({"weights": str(path)})
    assert digest({}) == digest({})
    assert Network().weights is None
    assert make_method("mn").networks["slices"].weights == ""
