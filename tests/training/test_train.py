"""The training loop: folders, selection, non-finite losses, history; and the patches it draws."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import SMALL, EachStep, make_batch, toy_case, toy_cohort

from ssltut.data.batch import Batch
from ssltut.data.cohort import Cohort
from ssltut.data.labels import HIP
from ssltut.data.patches import Intensity, PatchPool
from ssltut.data.split import Split
from ssltut.data.views import Augmentation, Noise
from ssltut.errors import CheckpointError, ConfigError, DataError, TrainingError
from ssltut.methods.contract import Network, Progress, Term
from ssltut.methods.registry import LabelsOnly, make_method
from ssltut.nets.precision import auto_precision
from ssltut.seeding import generator_for
from ssltut.training.batch_norm import precise_batch_norm
from ssltut.training.config import PROFILES, TrainConfig, profile_named
from ssltut.training.loop import cached_run, check_finite, train
from ssltut.training.networks import build_nets, start_from
from ssltut.training.run import load_run


def quiet(line):
    pass


def run_of(name="labels_only", folder=None, config=SMALL, cohort=None, **options):
    return train(make_method(name), cohort or toy_cohort(), config, folder, log=quiet, **options)


def same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run_of("labels_only", tmp_path_factory.mktemp("runs") / "plain")


# Folders


def test_a_finished_run_is_read_again(plain):
    said, before = [], sorted((p.name, p.stat().st_mtime_ns) for p in plain.folder.iterdir())
    again = train(make_method("labels_only"), toy_cohort(), SMALL, plain.folder, log=said.append)
    assert said == ["found the finished run plain (labels only)"]
    assert same(plain.nets["student"], again.nets["student"])
    assert before == sorted((p.name, p.stat().st_mtime_ns) for p in plain.folder.iterdir())
    assert again.history.equals(plain.history)
    assert again.selected == plain.selected


@pytest.mark.parametrize(
    ("name", "config"), [("mean_teacher", SMALL), ("labels_only", replace(SMALL, lr=2e-2))]
)
def test_the_folder_of_another_run_is_refused(plain, name, config):
    before = {p.name: p.read_bytes() for p in plain.folder.iterdir()}
    with pytest.raises(ConfigError, match="another run"):
        run_of(name, plain.folder, config)
    assert before == {p.name: p.read_bytes() for p in plain.folder.iterdir()}


def test_a_folder_with_other_files_is_refused_and_an_empty_one_taken(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds no run"):
        run_of(folder=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    assert run_of(folder=tmp_path / "empty", config=replace(SMALL, steps=1)).selected["step"] == 1


def test_a_wrong_configuration_does_not_occupy_the_folder(tmp_path):
    with pytest.raises(ConfigError, match="no network 'unit'"):
        run_of(folder=tmp_path / "r", config=replace(SMALL, arch="unit"))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"method": "labels_only"'])
def test_a_damaged_run_is_named(plain, tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"run\.json is damaged"):
        load_run(tmp_path)
    with pytest.raises(CheckpointError, match=r"run\.json is damaged"):
        run_of(folder=tmp_path)
    with pytest.raises(CheckpointError, match="no run here"):
        load_run(tmp_path / "nowhere")
    assert load_run(plain.folder).selected == plain.selected


def test_the_cache_finds_a_run_again(cache):
    said = []
    for _ in range(2):
        run = cached_run(
            make_method("labels_only"), toy_cohort(), replace(SMALL, seed=77), log=said.append
        )
    assert run.folder.parent == cache / "runs"
    assert said[-1].startswith("found the finished run labels_only-")


# What a run keeps


def test_history_adds_up(tmp_path):
    history = run_of("embedding_matching", tmp_path / "r").history
    terms = ["supervised", "reliable", "match", "entropy"]
    assert [f"{t} weight" in history and t in history for t in terms] == [True] * 4
    assert {"reliable share", "match share", "entropy share"} <= set(history)
    assert "supervised share" not in history
    assert list(history["step"]) == [0, 1, 2, 3]
    assert sum(history[t] * history[f"{t} weight"] for t in terms).to_numpy() == pytest.approx(
        history["total"].to_numpy(), rel=1e-5
    )
    assert history["validation dice"].notna().tolist() == [False, True, False, True]
    assert (history["reliable share"] + history["match share"]).to_numpy() == pytest.approx(1.0)


def test_selection_is_by_validation_and_saved(tmp_path, monkeypatch):
    import ssltut.training.loop

    scores = iter(
        [{"dice": 0.5, "hd95": 9.0}, {"dice": 0.7, "hd95": 5.0}, {"dice": 0.6, "hd95": 4.0}] * 3
    )
    monkeypatch.setattr(ssltut.training.loop, "validation_scores", lambda *args: next(scores))
    config, seen = replace(SMALL, steps=3, validate_every=1), {}

    def keep(step, nets, batch, terms):
        seen[step + 1] = nets["student"].classifier.weight.detach().clone()

    for rule, step, score in (("dice", 2, 0.7), ("hd95", 3, 4.0), ("last", 3, 0.6)):
        seen.clear()
        run = run_of(
            folder=tmp_path / rule,
            config=replace(config, select=rule),
            callbacks=[EachStep(keep)],
        )
        assert run.selected == {"step": step, "rule": rule, "score": score}
        assert torch.equal(run.nets["student"].classifier.weight, seen[step])
        assert json.loads((tmp_path / rule / "run.json").read_text())["finished"]


def test_the_test_split_is_never_opened(tmp_path):
    cohort = toy_cohort()
    for case_id in cohort.split.test:
        cohort.sources[case_id] = cohort.sources[case_id]._replace(
            load=lambda: pytest.fail("the test split was opened")
        )
    assert run_of("ua_mt", tmp_path / "r", cohort=cohort).selected["rule"] == "dice"


def test_init_starts_every_role_from_the_teacher(plain):
    method = make_method("embedding_matching")
    nets = build_nets(method, SMALL, 3)
    assert not same(nets["student"], plain.nets["student"])
    start_from(nets, method, plain.folder)
    assert same(nets["student"], plain.nets["student"])
    assert same(nets["teacher"], plain.nets["student"])


def test_a_role_may_have_a_network_of_another_kind(plain, tmp_path, monkeypatch):
    """Its follower has the same kind, and a start from a run leaves it its own weights."""
    networks = {
        "student": Network(),
        "other": Network(arch="vnet"),
        "teacher": Network(ema_of="other"),
    }
    monkeypatch.setattr(LabelsOnly, "networks", networks)
    nets = build_nets(make_method("labels_only"), SMALL, 3)
    assert [type(net).__name__ for net in nets.values()] == ["UNet", "VNet", "VNet"]
    before = {k: v.clone() for k, v in nets["other"].state_dict().items()}
    start_from(nets, make_method("labels_only"), plain.folder)
    assert torch.equal(nets["student"].classifier.weight, plain.nets["student"].classifier.weight)
    assert all(torch.equal(before[k], v) for k, v in nets["other"].state_dict().items())
    flat = build_nets(make_method("labels_only"), replace(SMALL, arch="unet2d"), 3)
    assert [(type(net).__name__, net.sides) for net in flat.values()] == [
        ("UNet", 2),
        ("VNet", 2),
        ("VNet", 2),
    ]


def test_init_is_part_of_the_run(plain, tmp_path):
    config = replace(SMALL, steps=1)
    warm = run_of("mean_teacher", tmp_path / "warm", config, init=plain.folder)
    cold = run_of("mean_teacher", tmp_path / "cold", config)
    assert (
        json.loads((warm.folder / "run.json").read_text())["init"]
        == json.loads((plain.folder / "run.json").read_text())["hash"]
    )
    assert not same(warm.nets["student"], cold.nets["student"])
    with pytest.raises(CheckpointError, match="no run here"):
        run_of("mean_teacher", tmp_path / "none", config, init=tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="do not fit"):
        run_of("mean_teacher", tmp_path / "wide", replace(config, width=6), init=plain.folder)
    assert not (tmp_path / "wide").exists()


def test_a_callback_changes_nothing(plain, tmp_path):
    steps = []

    def look(step, nets, batch, terms):
        steps.append((step, sorted(terms)))
        torch.rand(7)
        np.random.rand(3)

    watched = run_of(folder=tmp_path / "watched", callbacks=[EachStep(look)])
    assert steps == [(s, ["supervised"]) for s in range(4)]
    assert same(plain.nets["student"], watched.nets["student"])


@pytest.mark.filterwarnings("ignore::ssltut.errors.DataWarning")
def test_precise_batch_norm_is_the_mean_over_the_batches():
    """The averages of a precise copy are the plain mean over the replayed batches; the networks in
    training keep theirs.
    """
    method = make_method("mean_teacher", {"sigma_student": 0.0})
    nets = build_nets(method, replace(SMALL, norm="batch"), 3)
    batches = [make_batch(seed=seed) for seed in range(3)]
    before = {
        role: {k: v.clone() for k, v in net.state_dict().items()} for role, net in nets.items()
    }
    precise = precise_batch_norm(method, nets, batches, Progress(50, 100))
    first, norm = (
        next(m for m in precise["student"].modules() if isinstance(m, kind))
        for kind in (torch.nn.Conv3d, torch.nn.BatchNorm3d)
    )
    with torch.no_grad():
        maps = [first(torch.cat([b.x_l, b.x_u])) for b in batches]
    assert torch.allclose(
        norm.running_mean, torch.stack([m.mean((0, 2, 3, 4)) for m in maps]).mean(0), atol=1e-6
    )
    assert torch.allclose(
        norm.running_var, torch.stack([m.var((0, 2, 3, 4)) for m in maps]).mean(0), rtol=1e-5
    )
    assert all(
        torch.equal(before[role][k], v)
        for role, net in nets.items()
        for k, v in net.state_dict().items()
    )


def test_networks_without_batch_norm_come_back_as_they_are():
    method = make_method("mean_teacher")
    nets = build_nets(method, replace(SMALL, norm="instance"), 3)
    assert precise_batch_norm(method, nets, [make_batch()], Progress(50, 100)) is nets


def test_a_run_predicts_on_the_grid_of_the_scan(tmp_path):
    run = run_of(folder=tmp_path / "r", cohort=toy_cohort().resampled(4.0))
    case = toy_case(6)
    assert load_run(tmp_path / "r").spacing == 4.0
    p = run.probabilities(case)
    assert p.shape == (3, 16, 16, 16)
    assert p.sum(0) == pytest.approx(1.0, abs=1e-4)
    assert run.predict(case).dtype == np.uint8


# Non-finite losses


class Broken(LabelsOnly):
    def terms(self, batch, nets, outs, progress):
        good = super().terms(batch, nets, outs, progress)
        return good | {
            "spoiled": Term(
                good["supervised"].value * (float("nan") if progress.step == 1 else 1.0)
            )
        }


def test_a_non_finite_loss_stops_and_tells(tmp_path):
    with pytest.raises(
        TrainingError,
        match=(
            r"loss term spoiled is not finite at step 1 \(labelled case\d, case\d; unlabelled"
            r" none\)"
        ),
    ):
        train(Broken(), toy_cohort(), SMALL, tmp_path / "r", log=quiet)
    report = json.loads((tmp_path / "r" / "nonfinite.json").read_text())
    assert report["step"] == 1
    assert set(report["terms"]) == {"supervised", "spoiled"}
    assert len(report["labelled"]) == 2
    assert not (tmp_path / "r" / "best.safetensors").exists()


def test_finite_losses_are_silent(tmp_path):
    batch = Batch(torch.zeros(1), torch.zeros(1), None, ("a",), (), 2, 0)
    check_finite({"supervised": Term(torch.tensor(1.0))}, batch, 0, tmp_path)
    assert not list(tmp_path.iterdir())


# Patches


def pool_of(case, patch=(8, 8, 8)):
    return PatchPool([case], Intensity.of([case]), patch, "cpu")


def test_half_of_the_labelled_patches_hold_foreground():
    case = toy_case(0, size=40)
    case.label[:] = 0
    case.label[3:6, 30:33, 30:33] = 1
    shares = {}
    for kind, one in (("labelled", case), ("unlabelled", case.without_label())):
        pool = pool_of(one)
        boxes = [pool._box(0, generator_for("cpu", 0, i)) for i in range(200)]
        shares[kind] = np.mean([bool(case.label[box].any()) for box in boxes])
    assert 0.4 < shares["labelled"] < 0.65
    assert shares["unlabelled"] < 0.1


def test_a_scan_without_foreground_is_sampled_anywhere():
    case = toy_case(0)
    case.label[:] = 0
    x, y, ids, _ = pool_of(case).sample(3, generator_for("cpu", 0))
    assert x.shape == (3, 1, 8, 8, 8)
    assert not y.any()
    assert ids == ("case0",) * 3


def test_small_scans_are_padded_around_with_their_darkest_value():
    case = toy_case(0, size=16)
    small = replace(case, image=case.image[:4, :, :6], label=case.label[:4, :, :6])
    pool = pool_of(small, (8, 8, 8))
    assert pool.images[0].shape == pool.labels[0].shape == (8, 16, 8)
    assert torch.equal(
        pool.images[0][2:6, :, 1:7].float(),
        torch.tensor(np.rint(Intensity.of([small]).normalise(small.image) * 1000)),
    )
    assert (pool.images[0][:2] == pool.images[0].min()).all()
    assert not pool.labels[0][:2].any()
    assert pool.sample(2, generator_for("cpu", 0))[0].shape == (2, 1, 8, 8, 8)


def test_image_and_label_of_a_patch_belong_together():
    case = toy_case(0)
    flat = replace(case, image=(case.label * 100.0).astype(np.int16))
    x, y, *_ = pool_of(flat).sample(8, generator_for("cpu", 3))
    for image, label in zip(
        x[:, 0], y, strict=True
    ):  # one grey value a class, whatever the mirror, contrast and shift of this patch
        assert all(len(image[label == c].unique()) == 1 for c in label.unique())


def test_a_patch_knows_its_location_and_a_mirror_shows_the_other_side():
    case = toy_case(0, size=16)
    ramp = np.broadcast_to(np.arange(16, dtype=np.int16)[:, None, None], (16, 16, 16)) * 20
    for meta in ({}, {"side": "left"}, {"anatomy": {"side": "right"}}):
        pool = pool_of(replace(case, image=ramp.copy(), meta=meta))
        x, _, ids, locations = pool.sample(32, generator_for("cpu", 0))
        assert torch.equal(x, pool.sample(32, generator_for("cpu", 0)).images)
        mirrored = [patch[0, 0].mean() > patch[0, -1].mean() for patch in x]
        assert any(mirrored)
        assert not all(mirrored)
        assert {p.patient for p in locations} == {case.patient}
        assert ids == (case.id,) * 32
        for location, flip in zip(locations, mirrored, strict=True):
            was = 1 - location.centre[0] if flip else location.centre[0]
            own = (
                meta.get("side")
                or meta.get("anatomy", {}).get("side")
                or ("right" if was > 0.5 else "left")
            )
            assert (location.side == own) != flip
            assert all(0.25 <= c <= 0.75 for c in location.centre)
    one = PatchPool([case], Intensity.of([case]), (16, 16, 4), "cpu")
    assert all(
        p.centre[:2] == (0.5, 0.5)
        and (p.centre[2] * 16).is_integer()
        and p.extent == (1.0, 1.0, 0.25)
        for p in one.sample(8, generator_for("cpu", 0)).locations
    )


def test_scans_without_contrast_are_refused():
    case = toy_case(0)
    with pytest.raises(DataError, match="no contrast: every voxel is 7"):
        Intensity.of([replace(case, image=np.full((4, 4, 4), 7, np.int16), label=None)])
    found = Intensity.of([case])
    assert (found.mean, found.std) == pytest.approx((case.image.mean(), case.image.std()))


def test_views_are_replayable():
    x, y = torch.randn(4, 1, 6, 5, 4), torch.randint(3, (4, 6, 5, 4))
    drawn = Augmentation.draw(4, generator_for("cpu", 5))
    assert torch.equal(drawn.apply(x), drawn.apply(x))
    assert 0 < drawn.mirror.sum() < 4
    i = int(drawn.mirror.nonzero()[0])
    assert torch.equal(drawn.apply_label(y)[i], y[i].flip(0))
    assert torch.allclose(drawn.apply(x)[i], x[i].flip(1) * drawn.contrast[i] + drawn.shift[i])
    noise = Noise(0.5, 9)
    assert torch.equal(noise(x), noise(x))
    assert not torch.equal(noise(x), Noise(0.5, 10)(x))
    assert Noise(0.0, 9)(x) is x
    assert (noise(x) - x).std().item() == pytest.approx(0.5, rel=0.1)


def test_a_batch_holds_no_unlabelled_label():
    assert "y_u" not in Batch.__dataclass_fields__


# Profiles


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"width": -1}, "width is -1"),
        ({"lr": 0.0}, "lr is"),
        ({"lr": float("nan")}, "lr is"),
        ({"decay": -0.5}, "decay is -0.5"),
        ({"select": "test"}, "select is 'test'"),
        ({"patch": (30, 32, 32)}, "multiples of 4"),
        ({"precision": "half"}, "precision is 'half'"),
    ],
)
def test_wrong_training_settings_are_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        TrainConfig(**change)


def test_profiles_are_sound():
    for name, profile in PROFILES.items():
        assert profile_named(name) is profile
        assert (
            TrainConfig.from_dict(json.loads(json.dumps(profile.train.to_dict()))) == profile.train
        )
        assert profile.cases > profile.labelled + profile.validation + profile.test
    with pytest.raises(ConfigError, match="no profile 'huge'"):
        profile_named("huge")


def test_precision_is_chosen_from_the_machine(monkeypatch):
    for amx, precision in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert auto_precision(torch.device("cpu")) == precision


def test_other_sizes_and_one_validation_scan_of_background(tmp_path):
    cases = [toy_case(i, size=12 + 2 * i) for i in range(4)]
    cases[2].label[:] = 0  # nothing to find in the validation scan
    split = Split(("case0",), ("case1",), ("case2",), ("case3",))
    run = run_of(
        "embedding_matching", tmp_path / "r", cohort=Cohort.from_cases(cases, split, HIP, "sizes")
    )
    assert len(run.history) == 4
    assert run.predict(cases[3]).shape == (18, 18, 18)


def test_the_rate_falls_as_one_minus_the_fraction_to_the_power_of_decay(monkeypatch, tmp_path):
    rates, plain = [], torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam,
        "step",
        lambda self, *rest: (rates.append(self.param_groups[0]["lr"]), plain(self, *rest))[1],
    )
    run_of(folder=tmp_path, config=replace(SMALL, steps=4, validate_every=4, lr=0.1, decay=2.0))
    assert rates == pytest.approx([0.1, 0.1 * 0.75**2, 0.1 * 0.5**2, 0.1 * 0.25**2])
    assert "decay" not in SMALL.to_dict()
    assert replace(SMALL, decay=0.9).to_dict()["decay"] == 0.9
