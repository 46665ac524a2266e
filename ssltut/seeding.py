"""Seeds: each random draw has a stream of its own, the same on every machine."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *keys: object) -> int:
    """A 63-bit seed from ``seed`` and any keys, so that no random draw disturbs another.

    A numpy number, as of a table, counts as the Python number of its value.
    """
    plain = tuple(key.item() if isinstance(key, np.generic) else key for key in (seed, *keys))
    digest = hashlib.sha256(repr(plain).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(device: "torch.device | str", seed: int, *keys: object) -> "torch.Generator":
    import torch  # takes seconds, which scans and cohorts do not need

    return torch.Generator(device).manual_seed(derive_seed(seed, *keys))


def rng_for(seed: int, *keys: object) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, *keys))
