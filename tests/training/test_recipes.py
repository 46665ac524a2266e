"""The recipe that trains on synthetic pelves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy import toy_case

from ssltut.cli.main import main
from ssltut.errors import ConfigError
from ssltut.training.recipes import HIP, hip
from ssltut.training.run import load_run


def test_the_recipe_goes_from_nothing_to_a_run_that_resamples(cache: Path, tmp_path: Path, capsys):
    assert main(["recipe", "hip", "--profile", "smoke", "--out", str(tmp_path / "run")]) == 0
    run = load_run(tmp_path / "run")
    assert run.spacing == HIP["smoke"][0]["spacing"]
    assert run.config.randomise == 1.0
    assert "next: ssltut predict" in capsys.readouterr().out
    case = toy_case(2, 24)
    assert (
        run.predict(replace(case, affine=np.diag([4.0, 4.0, 4.0, 1.0]))).shape == case.image.shape
    )
    with pytest.raises(ConfigError, match="no profile 'huge'"):
        hip(tmp_path / "other", "huge")
