"""Patches as training draws them: where they lie, what they hold, and their views."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import toy_case

from ssltut.data.batch import Batch
from ssltut.data.patches import Intensity, PatchPool
from ssltut.data.views import Augmentation, Noise
from ssltut.errors import DataError
from ssltut.seeding import generator_for


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
