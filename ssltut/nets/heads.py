"""Further outputs that a network can be given."""

from typing import NamedTuple


class Head(NamedTuple):
    """One further output.

    level       1x1x1 output on the main decoder's map at 1 / 2^level of the resolution, brought to
                full resolution trilinearly; levels deeper than the network are left out, -1 is the
                deepest map. None: a decoder of its own
    up          how that decoder doubles the resolution: "deconv", or "trilinear" or "nearest" and a
                3x3x3 convolution
    skips       whether that decoder sees every map of the encoder or the bottleneck alone
    background  False: no channel for the background
    supervised  whether it learns from the labels as the main output does
    project     not a 1x1x1 output but a projection to this many channels: 1x1x1, PReLU, 1x1x1
    prompts     not a part of the network but the answers of a dynamic head over it
                (ssltut.nets.prompted), which give the main output too
    """

    level: int | None = None
    up: str = "deconv"
    skips: bool = True
    background: bool = True
    supervised: bool = False
    project: int = 0
    prompts: bool = False
