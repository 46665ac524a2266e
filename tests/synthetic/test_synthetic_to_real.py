"""Synthetic pelves, domain randomisation and the recipe that trains on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from toy import SMALL, toy_case, toy_cohort

from ssltut.cli.main import main
from ssltut.data.patches import Intensity, PatchPool
from ssltut.data.views import Randomisation
from ssltut.errors import ConfigError
from ssltut.methods.registry import make_method
from ssltut.seeding import generator_for
from ssltut.synthetic import pelvis
from ssltut.synthetic.abdomen import add_abdomen
from ssltut.synthetic.anatomy import Anatomy, Pathology, draw
from ssltut.synthetic.cohorts import pelvis_cohort
from ssltut.synthetic.pelvis import Confusers, make_pelvis, socket_factor
from ssltut.synthetic.shapes import ball
from ssltut.synthetic.tissues import Canvas
from ssltut.training.config import TrainConfig
from ssltut.training.recipes import HIP, hip
from ssltut.training.run import load_run, run_identity

COARSE = {"spacing": 6.0, "pathology": Pathology()}


def test_the_same_seed_gives_the_same_pelvis_and_another_one_another():
    first, again, other = (
        make_pelvis(1, **COARSE),
        make_pelvis(1, **COARSE),
        make_pelvis(2, **COARSE),
    )
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.label, again.label)
    assert not np.array_equal(first.image, other.image)
    assert first.image.dtype == np.int16
    assert first.spacing == (6.0, 6.0, 6.0)


def test_a_pelvis_has_two_hips_and_two_femurs_that_do_not_touch():
    case = make_pelvis(3, spacing=3.0, pathology=Pathology())
    for value in (1, 2):
        pieces = ndimage.label(case.label == value, np.ones((3, 3, 3)))[0]
        sizes = np.sort(np.bincount(pieces.ravel())[1:])[::-1]
        assert sizes[1] > 0.5 * sizes[0] and sizes[2:].sum() < 0.02 * sizes.sum(), value
    assert 0.01 < (case.label == 1).mean() < 0.06
    assert case.image[case.label == 1].mean() > 200


def test_some_scans_hold_metal_whatever_else_is_ill_and_none_where_the_pathology_is_given():
    coarse = {"spacing": 16.0, "field": (336.0, 336.0, 256.0)}
    ill = [
        make_pelvis(seed, **coarse, pathology_rate=0.0).meta["pathology"]["implant"]
        for seed in range(12)
    ]
    assert 1 <= sum(ill) <= 8
    assert not any(
        make_pelvis(seed, **coarse, pathology=Pathology()).meta["pathology"]["implant"]
        for seed in range(12)
    )


def test_bone_that_is_no_hip_is_there_only_with_confusers():
    with_them, without = (
        make_pelvis(4, **COARSE, confusers=Confusers(share=share)) for share in (0.7, 0.0)
    )
    outside = [int(((case.image > 250) & (case.label == 0)).sum()) for case in (with_them, without)]
    assert np.array_equal(with_them.label, without.label)
    assert outside[0] > 1.3 * outside[1]
    with pytest.raises(ConfigError, match="a share of 2"):
        Confusers(share=2.0)
    Confusers(share=1.0)


def test_the_label_takes_in_the_rim_of_a_bone_as_references_of_real_scans_do():
    case = make_pelvis(3, spacing=3.0, pathology=Pathology(), confusers=Confusers(share=0.0))
    bone = case.label > 0
    beside, rim = ndimage.binary_dilation(bone) & ~bone, bone & ~ndimage.binary_erosion(bone)
    assert np.percentile(case.image[beside], 90) < 250 < np.percentile(case.image[rim], 60)


def test_a_head_may_lose_its_cortex_at_the_socket_and_keeps_it_elsewhere(monkeypatch):
    assert socket_factor(np.float32([-3.0, 6.0, 9.0, 12.0, 40.0]), 0.2) == pytest.approx(
        [0.2, 0.2, 0.6, 1.0, 1.0]
    )
    images = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr(pelvis, "CORTEX_AT_SOCKET", (share, share))
        case = make_pelvis(3, spacing=3.0, pathology=Pathology())
        images[share] = case.image.astype(int)
    away = 3.0 * ndimage.distance_transform_edt(case.label != 1)  # mm from the hip bone
    lost, head = images[1.0] - images[0.0], (case.label == 2) & (away < 5)
    assert lost[head].mean() > 30
    assert (lost >= 0).mean() > 0.99
    assert not lost[away > 24].any()


def test_flesh_fills_the_fat_inside_the_fascia_alone():
    p = np.stack(
        np.meshgrid(
            np.arange(-90.0, 60, 6),
            np.arange(-110.0, 100, 6),
            np.arange(30.0, 120, 6),
            indexing="ij",
        )
    ).astype(np.float32)
    fascia, bone = np.maximum(np.abs(p[1]) - 90, np.abs(p[0] + 90) - 130), ball(p, (0, 0, 60), 15.0)
    hu = np.where(fascia < 40, -100.0, -1000.0).astype(np.float32)
    hu[bone < 0] = 700.0
    before, a = hu.copy(), draw(Anatomy, np.random.default_rng(0))
    add_abdomen(p, fascia, bone, a.muscle_hu, Canvas(hu, 6.0), np.random.default_rng(1))
    assert np.array_equal(hu[fascia > 3], before[fascia > 3])
    assert np.array_equal(hu[bone < 0], before[bone < 0])
    assert 0.4 < (hu[(fascia < -3) & (bone > 3)] > 0).mean() < 0.95
    assert (hu[(bone > 3) & (bone < 8)] > 0).mean() > 0.6


def test_a_field_that_is_not_square_is_refused():
    with pytest.raises(ConfigError, match="make the first two sides equal"):
        make_pelvis(1, field=(100.0, 120.0, 100.0))


def test_randomisation_moves_image_and_label_together_and_can_be_replayed():
    image = torch.zeros(20, 20, 20)
    image[6:14, 5:12, 7:15] = 1.0
    view, box = Randomisation.draw(2, generator_for("cpu", 3)), (slice(2, 18),) * 3
    x, y = view.cut(1, image, image.to(torch.uint8), box)
    again, _ = view.cut(1, image, None, box)
    assert torch.equal(x, again)
    assert torch.equal(y, (x > 0.5).long())
    assert y.sum() > 0
    assert not torch.equal(x, image[box])
    batch = torch.stack([x, x])[:, None]
    assert torch.equal(view(batch), view(batch))
    assert not torch.equal(view(batch), batch)


def test_randomisation_of_strength_nothing_is_the_patch_itself():
    image = torch.rand(12, 12, 12)
    view = Randomisation.draw(1, generator_for("cpu", 0), strength=0.0)
    x, _ = view.cut(0, image, None, (slice(1, 9), slice(2, 10), slice(3, 11)))
    assert torch.allclose(x, image[1:9, 2:10, 3:11], atol=1e-5)
    assert torch.allclose(view(x[None, None])[0, 0], x)


def test_randomise_changes_patches_and_hashes_only_when_asked():
    case = toy_case(1)
    pools = [
        PatchPool([case], Intensity.of([case]), (8, 8, 8), "cpu", strength)
        for strength in (0.0, 1.0)
    ]
    plain, drawn = (pool.sample(2, generator_for("cpu", 5)) for pool in pools)
    assert plain.images.shape == drawn.images.shape
    assert drawn.labels.shape == (2, 8, 8, 8)
    assert not torch.equal(plain.images, drawn.images)
    assert "randomise" not in SMALL.to_dict()
    assert TrainConfig.from_dict(SMALL.to_dict()) == SMALL
    wild, cohort = replace(SMALL, randomise=0.5), toy_cohort()
    assert TrainConfig.from_dict(wild.to_dict()) == wild
    assert (
        run_identity(make_method("labels_only"), wild, cohort, None)["hash"]
        != run_identity(make_method("labels_only"), SMALL, cohort, None)["hash"]
    )
    with pytest.raises(ConfigError, match="randomise is 3"):
        TrainConfig(randomise=3.0)


def test_the_cohort_of_pelves_needs_one_to_train_on(cache: Path):
    assert len(pelvis_cohort(3, spacing=8.0, validation=1).split.labelled) == 2
    with pytest.raises(ConfigError, match="raise n"):
        pelvis_cohort(2, validation=2)


def test_the_recipe_goes_from_nothing_to_a_run_that_resamples(cache: Path, tmp_path: Path, capsys):
    assert main(["recipe", "hip", "--profile", "smoke", "--out", str(tmp_path / "run")]) == 0
    run = load_run(tmp_path / "run")
    assert run.spacing == HIP["smoke"][0]["spacing"]
    assert run.config.randomise == 1.0
    assert "next: ssltut predict" in capsys.readouterr().out
    case = toy_case(2, 24)
    assert (
        run.predict(replace(case, affine=np.diag([4.0, 4.0, 4.0, 1.0]))).shape == case.image.shape
    )
    with pytest.raises(ConfigError, match="no profile 'huge'"):
        hip(tmp_path / "other", "huge")
