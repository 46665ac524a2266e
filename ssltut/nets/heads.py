"""Further outputs that a network can be given."""

from typing import NamedTuple


class Head(NamedTuple):
    """One further output: a decoder of its own, or a 1x1x1 convolution on the main decoder's map.

    That map is the one at 1 / 2^``level`` of the resolution, -1 the deepest; the output is brought
    to full resolution trilinearly. Levels deeper than the network are left out.
    """

    level: int | None = None  # None: a decoder of its own
    up: str = "deconv"  # its doubling: "deconv"; "trilinear" or "nearest" and a 3x3x3 convolution
    skips: bool = True  # that decoder sees every map of the encoder, else the bottleneck alone
    background: bool = True  # False: no channel for the background
    supervised: bool = False  # it learns from the labels as the main output does
    project: int = 0  # channels of a projection (1x1x1, PReLU, 1x1x1) in place of the 1x1x1
    prompts: bool = False  # the answers of a dynamic head (prompted.py), also for the main output
