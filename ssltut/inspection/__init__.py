"""Looking inside a trained network, and inside a training."""

from ssltut.inspection.correspondence import Correspondences, correspond
from ssltut.inspection.maps import UncertaintyMap, device_of, embedding_map, net_of, uncertainty_map
from ssltut.inspection.probe import Probe, accuracy_on_unreliable, assignment, probed_run
