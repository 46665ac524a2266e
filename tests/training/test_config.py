"""Training configurations, profiles and the precision that suits a machine."""

import json

import pytest
import torch

from ssltut.errors import ConfigError
from ssltut.nets.precision import auto_precision
from ssltut.training.config import PROFILES, TrainConfig, profile_named


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"width": -1}, "width is -1"),
        ({"lr": 0.0}, "lr is"),
        ({"lr": float("nan")}, "lr is"),
        ({"decay": -0.5}, "decay is -0.5"),
        ({"select": "test"}, "select is 'test'"),
        ({"patch": (30, 32, 32)}, "multiples of 4"),
        ({"precision": "half"}, "precision is 'half'"),
    ],
)
def test_wrong_training_settings_are_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        TrainConfig(**change)


def test_profiles_are_sound():
    for name, profile in PROFILES.items():
        assert profile_named(name) is profile
        assert (
            TrainConfig.from_dict(json.loads(json.dumps(profile.train.to_dict()))) == profile.train
        )
        assert profile.cases > profile.labelled + profile.validation + profile.test
    with pytest.raises(ConfigError, match="no profile 'huge'"):
        profile_named("huge")


def test_precision_is_chosen_from_the_machine(monkeypatch):
    for amx, precision in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert auto_precision(torch.device("cpu")) == precision


def test_a_whole_number_for_a_fraction_is_the_same_configuration():
    assert TrainConfig(lr=1, decay=0) == TrainConfig(lr=1.0, decay=0.0)
    assert TrainConfig(lr=1, randomise=1).to_dict() == TrainConfig(lr=1.0, randomise=1.0).to_dict()
    assert type(TrainConfig(lr=1).to_dict()["lr"]) is float
