"""The region vote among voxels that also lie alike in their scans (our variant)."""

from ssltut.methods.matching.region_vote import RegionVote


class PlaceVote(RegionVote):
    """The region vote, in which a reference counts as near when it looks alike and lies alike.

    What no labelled scan shows looks like nothing that is labelled, or like the wrong thing (metal
    like cortical bone of the socket); where it lies says what it is. ``place``: where in its scan a
    voxel lies, as a code on the unit sphere (``matching.place_vectors``), joins the two maps with a
    weight at which 10 mm in a scan of 160 mm cost as much as a third of the cosine in both. That
    takes references from all over the labelled scans: fewer of each batch (``k``, ``interior``) and
    more remembered (``memory``, of a class). It leans on scans that are cut alike, as hip CT around
    the joint is; where they are not, less weight is right.
    """

    name = "place_vote"
    title = "embedding matching, place vote"
    ideas = (*RegionVote.ideas, "other data")

    place: float = 100.0
    k: int = 20
    interior: int = 200
    memory: int = 2000
