"""The list of methods: one file a method, one line here, and its entry in methods.json."""

from collections.abc import Mapping
from typing import Any

from ssltut.errors import ConfigError
from ssltut.methods.classic.bcp import BCP
from ssltut.methods.classic.cct import CCT
from ssltut.methods.classic.cps import CPS
from ssltut.methods.classic.dtc import DTC
from ssltut.methods.classic.fixmatch import FixMatch
from ssltut.methods.classic.mc_net_plus import MCNetPlus
from ssltut.methods.classic.mean_teacher import MeanTeacher
from ssltut.methods.classic.mtc import MTC
from ssltut.methods.classic.supervised import AllLabels, LabelsOnly, SameBatch
from ssltut.methods.classic.ua_mt import UAMT
from ssltut.methods.classic.urpc import URPC
from ssltut.methods.contract import Method
from ssltut.methods.further.c3s3 import C3S3
from ssltut.methods.further.cad import CAD
from ssltut.methods.further.ersr import ERSR
from ssltut.methods.further.m3hl import M3HL
from ssltut.methods.further.medl import MEDL
from ssltut.methods.further.mn import MN
from ssltut.methods.further.rpg import RPG
from ssltut.methods.further.self_paced import SelfPaced
from ssltut.methods.further.ss_net import SSNet
from ssltut.methods.further.transmedseg import TransMedSeg
from ssltut.methods.further.versemi import VerSemi
from ssltut.methods.matching.beside import VoteBeside
from ssltut.methods.matching.embedding_matching import EmbeddingMatching
from ssltut.methods.matching.vote import NeighbourVote, RegionVote
from ssltut.options import chosen, near

LISTED: tuple[type[Method], ...] = (
    *(LabelsOnly, SameBatch, MeanTeacher, UAMT, CPS, FixMatch, URPC, DTC, MCNetPlus),
    *(BCP, CCT, MTC),
    *(SSNet, CAD, RPG, SelfPaced, MEDL, TransMedSeg, M3HL, C3S3, ERSR, VerSemi, MN),
    *(EmbeddingMatching, NeighbourVote, RegionVote, VoteBeside, AllLabels),
)
METHODS: dict[str, type[Method]] = {method.name: method for method in LISTED}
# Methods that results of record name and that are none now: their titles, and where they are.
IN_THE_LOG = "its options and results are in results/LOG.md"
GONE = {
    "place_vote": ("embedding matching, place vote", IN_THE_LOG),
    "late_vote": ("embedding matching, late vote", IN_THE_LOG),
    "scan_vote": (VoteBeside(host="ua_mt").title, "train vote_beside with host=ua_mt"),
    "evidential_vote": (VoteBeside(host="medl").title, "train vote_beside with host=medl"),
}


def title_of(name: str) -> str:
    """What a method is called in tables; a name that is not known is its own title."""
    return METHODS[name].title if name in METHODS else GONE.get(name, (name,))[0]


def fidelity_of(name: str) -> str:
    """How near a method is to its source; what is gone was ours, and of others nothing is known."""
    return METHODS[name].fidelity if name in METHODS else "adapted" if name in GONE else ""


def make_method(name: str, options: Mapping[str, Any] | None = None) -> Method:
    """The method ``name`` with ``options``. ConfigError for a wrong name, option or value."""
    if name in GONE:
        raise ConfigError(f"there is no method {name} any more", fix=GONE[name][1])
    if name not in METHODS:
        raise ConfigError(f"there is no method {name!r}", fix=near(name, METHODS))
    return METHODS[name](**chosen(METHODS[name], options or {}, name))
