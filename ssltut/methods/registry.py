"""One file a method; this is the list of them."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import fields

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.classic.bcp import BCP
from ssltut.methods.classic.cct import CCT
from ssltut.methods.classic.cps import CPS
from ssltut.methods.classic.dtc import DTC
from ssltut.methods.classic.fixmatch import FixMatch
from ssltut.methods.classic.mc_net_plus import MCNetPlus
from ssltut.methods.classic.mean_teacher import MeanTeacher
from ssltut.methods.classic.mtc import MTC
from ssltut.methods.classic.supervised import AllLabels, LabelsOnly
from ssltut.methods.classic.ua_mt import UAMT
from ssltut.methods.classic.urpc import URPC
from ssltut.methods.contract import IDEAS, Method, Nets, Plan, Progress, Role, Term
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
from ssltut.methods.matching.embedding_matching import EmbeddingMatching, NeighbourVote
from ssltut.methods.matching.evidential_vote import EvidentialVote
from ssltut.methods.matching.late_vote import LateVote
from ssltut.methods.matching.place_vote import PlaceVote
from ssltut.methods.matching.region_vote import RegionVote
from ssltut.methods.matching.scan_vote import ScanVote

METHODS: dict[str, type[Method]] = {
    m.name: m
    for m in (
        LabelsOnly,
        MeanTeacher,
        UAMT,
        CPS,
        FixMatch,
        URPC,
        DTC,
        MCNetPlus,
        BCP,
        CCT,
        MTC,
        SSNet,
        CAD,
        RPG,
        SelfPaced,
        MEDL,
        TransMedSeg,
        M3HL,
        C3S3,
        ERSR,
        VerSemi,
        MN,
        EmbeddingMatching,
        NeighbourVote,
        RegionVote,
        PlaceVote,
        LateVote,
        ScanVote,
        EvidentialVote,
        AllLabels,
    )
}

__all__ = [
    "IDEAS",
    "METHODS",
    "Batch",
    "Method",
    "Nets",
    "Plan",
    "Progress",
    "Role",
    "Term",
    "make_method",
    "method_table",
]


def make_method(name: str, options: Mapping[str, object] | None = None) -> Method:
    """The method called ``name`` with ``options`` (dataclass fields) in place of its defaults.

    Raises ConfigError for an unknown name or option, or a value of another type.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, 1)
        raise ConfigError(
            f"there is no method {name!r}",
            fix=f"did you mean {near[0]}?" if near else f"use one of {', '.join(METHODS)}",
        )
    known = {f.name: f.default for f in fields(METHODS[name])}
    chosen = {}
    for option, value in (options or {}).items():
        if option not in known:
            raise ConfigError(
                f"there is no option {option!r}",
                where=name,
                fix=f"its options are {', '.join(known)}",
            )
        default = known[option]
        if isinstance(default, tuple):
            value = (
                tuple(value.split(",") if isinstance(value, str) else value)
                if isinstance(value, str | list | tuple)
                else value
            )
        elif isinstance(default, float) and type(value) is int:
            value = float(value)
        chosen[option] = value
        # threshold alone is a word or a number; its own method checks it
        if option != "threshold" and type(value) is not type(default):
            raise ConfigError(
                f"option {option} is {json.dumps(value)}",
                where=name,
                fix=f"give a value like {known[option]}",
            )
    return METHODS[name](**chosen)


def method_table() -> list[dict[str, object]]:
    """Name, title, paper, year, standing and ideas of every method, for tables and for ``ssltut
    methods --json``.
    """
    return [
        {
            "name": m.name,
            "title": m.title,
            "paper": m.paper,
            "year": m.year,
            "kind": "exact" if m.exact else "reconstruction",
            "uses": m.uses,
            "ideas": m.ideas,
            "options": m().options,
        }
        for m in METHODS.values()
    ]
