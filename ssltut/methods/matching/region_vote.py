"""Embedding matching where whole regions are uncertain (our variant)."""

from ssltut.methods.matching.embedding_matching import NeighbourVote


class RegionVote(NeighbourVote):
    """The neighbour vote, asked only in uncertain regions: where the network has never seen the
    like, not at every border.

    On a scan like the labelled ones the uncertain voxels are those of the borders, and there the
    student is right more often than any match; on one that shows something new (a nail in the
    femur) whole regions are uncertain, and there it is the other way round. So uncertainty is
    averaged over cubes of 7 voxels, and only what then reaches 0.18 ln C, at most a tenth of the
    voxels, is matched: ``region``, ``floor`` and ``threshold``. Three more options differ from the
    neighbour vote: ``layer``, embedding and bottleneck vote together, as on something new the last
    map says what a voxel looks like, the bottleneck where it is; ``memory``, 300 references a class
    across scans, as two patches hold few places; ``w_ps``, weight 1, so that a matched voxel pulls
    like a labelled one.
    """

    name = "region_vote"
    title = "embedding matching, region vote"

    threshold: str | float = 0.1
    region: int = 7
    floor: float = 0.18
    layer: str = "both"
    memory: int = 300
    w_ps: float = 1.0
