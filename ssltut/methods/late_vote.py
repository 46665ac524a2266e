"""The place vote at the end of training, where a whole patch is new (our variant)."""

from dataclasses import dataclass
from typing import ClassVar

from ssltut.methods.place_vote import PlaceVote


@dataclass(frozen=True, kw_only=True)
class LateVote(PlaceVote):
    """The place vote, asked late, loudly, and only in patches that a mature teacher does not know.

    Early in training most of what is unsure is what the network has yet to learn, and at the rim of a patch it is what lacks its surroundings:
    there teacher and student come right by themselves, and a match that is right four times in five does harm. What stays unsure at the end
    fills a good share of a patch where a scan shows what no labelled one does, and hardly any elsewhere. So matching begins at ``start``, only
    patches with at least ``share`` unreliable voxels are matched, and those few voxels, a small part of a mean over all, weigh ``w_ps`` 10.
    Until then it is a mean teacher of hard labels, where the teacher is sure.
    """

    name: ClassVar[str] = "late_vote"
    title: ClassVar[str] = "embedding matching, late vote"

    start: float = 0.8
    share: float = 0.04
    w_ps: float = 10.0
