"""Looking inside a trained network."""

from ssltut.inspection.correspondence import Correspondences, correspond
from ssltut.inspection.maps import UncertaintyMap, device_of, embedding_map, net_of, uncertainty_map
