"""The votes by composition are those of the chain of classes, term by term."""

import pytest
from golden import steps_of

from ssltut.methods.matching import beside, published, vote
from ssltut.methods.matching.embedding_matching import EmbeddingMatching, NeighbourVote
from ssltut.methods.matching.evidential_vote import EvidentialVote
from ssltut.methods.matching.region_vote import RegionVote
from ssltut.methods.matching.scan_vote import ScanVote


@pytest.mark.parametrize(
    ("chain", "composed"),
    [
        (EmbeddingMatching(), published.EmbeddingMatching()),
        (
            EmbeddingMatching(threshold=0.05, kernel="max_cosine"),
            published.EmbeddingMatching(threshold=0.05, kernel="max_cosine"),
        ),
        (NeighbourVote(), vote.NeighbourVote()),
        (RegionVote(), vote.RegionVote()),
        (RegionVote(place=50.0, floor=0.0), vote.RegionVote(place=50.0, floor=0.0)),
        (ScanVote(), beside.VoteBeside()),
        (
            ScanVote(scans=0.0, share=0.0, floor=0.0, w_ua=0.5),
            beside.VoteBeside(scans=0.0, share=0.0, floor=0.0, w_ua=0.5),
        ),
        (EvidentialVote(), beside.VoteBeside(host="medl")),
        (
            EvidentialVote(scans=0.0, share=0.0, floor=0.0),
            beside.VoteBeside(host="medl", scans=0.0, share=0.0, floor=0.0),
        ),
    ],
)
def test_composition_equals_the_chain(chain, composed):
    assert composed.identity == chain.identity
    for mine, theirs in zip(steps_of(composed), steps_of(chain), strict=True):
        assert list(mine) == list(theirs)
        for name, values in theirs.items():
            assert mine[name] == pytest.approx(values, rel=1e-12, abs=1e-15), name
