"""Drawing 4 patches of 32³ from scans in memory, against MONAI's and TorchIO's transforms."""

from collections.abc import Callable
from itertools import count

import numpy as np
import torch
from turns import Row, in_turns, peer

from ssltut.data.case import Case
from ssltut.data.patches import Intensity, PatchPool
from ssltut.seeding import generator_for
from ssltut.synthetic.hip import make_case

SIDE, N = 32, 4


def pool_of(size: int, randomise: float) -> PatchPool:
    """Two scans of ``size``³ voxels, made of a smaller one."""
    small = make_case(0, size=64)
    repeat = size // 64
    image, label = (np.tile(a, (repeat,) * 3) for a in (small.image, small.label))
    cases = [Case(name, name, image, label, small.affine) for name in ("a", "b")]
    return PatchPool(cases, Intensity.of(cases), (SIDE,) * 3, "cpu", randomise)


def ours(size: int, randomise: float) -> Callable[[], object]:
    pool, seeds = pool_of(size, randomise), count()
    return lambda: pool.sample(N, generator_for("cpu", next(seeds)))


def monai(size: int, full: bool) -> Callable[[], object]:
    from monai import transforms as m

    pool = pool_of(size, 0.0)
    keys = ["image", "label"]
    scan = {"image": pool.images[0][None].float() / 1000, "label": pool.labels[0][None]}
    crop = m.RandCropByPosNegLabeld(keys, "label", (SIDE,) * 3, num_samples=N)
    grey = [
        m.RandScaleIntensityd("image", 0.1, prob=1),
        m.RandShiftIntensityd("image", 0.1, prob=1),
    ]
    more = [
        m.Rand3DElasticd(
            keys,
            sigma_range=(3, 4),
            magnitude_range=(20, 60),
            prob=1,
            rotate_range=(0.3,) * 3,
            scale_range=(0.2,) * 3,
            mode=("bilinear", "nearest"),
            padding_mode="border",
        ),
        m.RandGaussianSmoothd("image", prob=1),
        m.RandGaussianNoised("image", prob=1),
    ]
    chain = m.Compose([crop, m.RandFlipd(keys, 0.5, 0), *grey, *(more if full else [])])
    return lambda: chain(scan)


def torchio(size: int, full: bool) -> Callable[[], object]:
    import torchio as tio

    pool = pool_of(size, 0.0)
    image, label = pool.images[0][None].float() / 1000, pool.labels[0][None]
    scan = tio.Subject(image=tio.ScalarImage(tensor=image), label=tio.LabelMap(tensor=label))
    flip = [tio.RandomFlip((0,))]
    chain = tio.Compose(
        [*flip, tio.RandomAffine(), tio.RandomNoise(), tio.RandomGamma()] if full else flip
    )
    sampler = tio.data.UniformSampler(SIDE)
    return lambda: list(sampler(chain(scan), N))


def rows() -> list[Row]:
    torch.manual_seed(0)
    kinds = {
        "full randomisation": (True, "0.25 of MONAI, 0.5 of TorchIO"),
        "mirror and contrast": (False, "0.05 of MONAI, 0.23 of TorchIO, as it was"),
    }
    found = []
    for kind, (full, goal) in kinds.items():
        for size in (64, 128):
            contestants = {"ours": ours(size, float(full))}
            skipped = [name for name in ("monai", "torchio") if not peer(name)]
            if "monai" not in skipped:
                contestants["MONAI"] = monai(size, full)
            if "torchio" not in skipped:
                contestants["TorchIO"] = torchio(size, full)
            what = f"4 patches of 32³ from scans of {size}³, {kind}"
            found.append(Row(what, goal, in_turns(contestants, 9), skipped))
    return found
