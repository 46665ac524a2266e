"""The batch of a step."""

from ssltut.data.batch import Batch
from ssltut.data.patches import PatchPool
from ssltut.methods.contract import Plan
from ssltut.seeding import derive_seed, generator_for
from ssltut.training.config import TrainConfig


def draw_batch(
    labelled: PatchPool,
    unlabelled: PatchPool | None,
    plan: Plan,
    config: TrainConfig,
    n_classes: int,
    step: int,
) -> Batch:
    """The batch of one step.

    Labelled and unlabelled patches have random streams of their own, so neither disturbs the other.
    """
    draws = {
        kind: generator_for(labelled.device, config.seed, "batch", kind, step)
        for kind in ("labelled", "unlabelled")
    }
    x_l, y_l, ids_l, locations_l = labelled.sample(plan.labelled, draws["labelled"])
    x_u, ids_u, locations_u = None, (), ()
    if unlabelled is not None and plan.unlabelled:
        x_u, _, ids_u, locations_u = unlabelled.sample(plan.unlabelled, draws["unlabelled"])
    return Batch(
        x_l,
        y_l,
        x_u,
        ids_l,
        ids_u,
        n_classes,
        derive_seed(config.seed, "views", step),
        locations_l,
        locations_u,
        labelled.known(ids_l, n_classes),
    )
