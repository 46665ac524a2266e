"""Domain randomisation: image and label together, replayed, and only when asked for."""

import platform
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from toy import SMALL, toy_case, toy_cohort

from ssltut.data.patches import Intensity, PatchPool
from ssltut.data.views import Randomisation
from ssltut.errors import ConfigError
from ssltut.methods.registry import make_method
from ssltut.seeding import generator_for
from ssltut.training.config import TrainConfig
from ssltut.training.run import run_identity


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
    assert TrainConfig.from_dict(SMALL.to_dict()) == SMALL
    wild, cohort = replace(SMALL, randomise=0.5), toy_cohort()
    assert TrainConfig.from_dict(wild.to_dict()) == wild
    assert (
        run_identity(make_method("labels_only"), wild, cohort, None)["hash"]
        != run_identity(make_method("labels_only"), SMALL, cohort, None)["hash"]
    )
    with pytest.raises(ConfigError, match="randomise is 3"):
        TrainConfig(randomise=3.0)


def by_grid_sample(view, i, image, label, box):
    """What ``Randomisation.cut`` gives, from the whole scan and by torch's own interpolation."""
    patch = [side.stop - side.start for side in box]
    corner = torch.tensor([side.start for side in box])
    middle = torch.tensor([(side - 1) / 2 for side in patch])
    steps = [torch.arange(side) - (side - 1) / 2 for side in patch]
    offset = torch.stack(torch.meshgrid(*steps, indexing="ij"), -1) @ view.matrix[i].T
    bend = F.interpolate(view.bend[i][None], patch, mode="trilinear", align_corners=True)
    position = offset + bend[0].movedim(0, -1) + corner + middle
    last = torch.tensor(image.shape, dtype=torch.float32) - 1
    grid = (2.0 * position / last.clamp(min=1.0) - 1.0).flip(-1)[None]
    classes = F.one_hot(label.long()).movedim(-1, 0).float()
    x, y = (
        F.grid_sample(volume[None], grid, padding_mode="border", align_corners=True)[0]
        for volume in (image.float()[None], classes)
    )
    return x[0], y.argmax(0)


@pytest.mark.parametrize("shape", [(24, 24, 24), (40, 37, 51), (30, 20, 1)])
def test_patches_have_the_bits_of_an_interpolation_of_the_whole_scan(shape):
    generator = generator_for("cpu", 1)
    image = torch.randint(-9000, 9000, shape, generator=generator).short()
    blocks = torch.randint(4, [-(-side // 5) for side in shape], generator=generator).byte()
    for axis, side in enumerate(shape):
        blocks = blocks.repeat_interleave(5, axis).narrow(axis, 0, side)
    view = Randomisation.draw(6, generator)
    for i in range(6):
        sides = [min(side, 16) for side in shape]
        corners = [(side - n) * (i % 3) // 2 for side, n in zip(shape, sides, strict=True)]
        box = tuple(slice(c, c + n) for c, n in zip(corners, sides, strict=True))
        x, y = view.cut(i, image, blocks, box)
        expected, classes = by_grid_sample(view, i, image, blocks, box)
        # A processor that multiplies and adds in one step may round the sum another way.
        assert torch.allclose(x, expected, rtol=0, atol=4e-3)
        assert platform.machine() != "x86_64" or torch.equal(x, expected)
        assert torch.equal(y, classes)
