"""The example of CONTRIBUTING.md is a method that trains, and commands in the texts exist."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from toy import SMALL, make_batch, toy_cohort

from ssltut.cli.main import main
from ssltut.errors import ConfigError
from ssltut.methods.contract import Method, Progress
from ssltut.methods.losses import entropy
from ssltut.methods.registry import METHODS, make_method
from ssltut.training.loop import train
from ssltut.training.networks import build_nets

ROOT = Path(__file__).parents[2]
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Method]:
    """The method of CONTRIBUTING.md, registered."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?class \w+\(Method\).*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 30
    file = tmp_path / "entropy_minimisation.py"
    file.write_text(code, encoding="utf-8")
    spec = spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, file.stem, module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(METHODS, "entropy_minimisation", module.EntropyMinimisation)
    return module.EntropyMinimisation


def test_the_example_trains_and_its_term_is_the_mean_entropy(
    example: type[Method], tmp_path: Path
) -> None:
    method = make_method("entropy_minimisation", {"weight": 0.5})
    run = train(method, toy_cohort(), SMALL, tmp_path / "run", log=lambda line: None)
    assert len(run.history) == SMALL.steps
    assert run.history["entropy"].gt(0).all()
    nets, batch, half = build_nets(method, SMALL, 3), make_batch(), Progress(50, 100)
    outs = method.forward(batch, nets, half)
    term = method.terms(batch, nets, outs, half)["entropy"]
    p = outs["student"].unlabelled.logits.softmax(1)
    assert term.value.item() == pytest.approx(entropy(p).mean().item())
    assert 0 < term.weight < 0.5


def test_the_example_is_the_control_at_weight_0_and_checks_its_option(
    example: type[Method],
) -> None:
    batch, values = make_batch(), []
    for name, options in (("entropy_minimisation", {"weight": 0.0}), ("same_batch", {})):
        method = make_method(name, options)
        nets = build_nets(method, SMALL, 3)
        torch.manual_seed(0)
        terms = method.losses(batch, nets, Progress(50, 100))
        values.append({name: term.value.item() for name, term in terms.items()})
    assert values[0] == values[1]
    with pytest.raises(ConfigError, match="weight"):
        make_method("entropy_minimisation", {"weight": -1.0})


def commands() -> list[tuple[str, list[str]]]:
    """Each ``ssltut`` command line of the texts, as (command, its options)."""
    found = []
    for text in TEXTS:
        for line in re.findall(r"\bssltut [a-z]+[^`\n#&]*", text.read_text(encoding="utf-8")):
            words = line.split()
            found.append((words[1], re.findall(r"--[a-z][a-z-]*", line)))
    return [(name, options) for name, options in found if options]


def test_every_command_and_option_in_the_texts_exists(capsys: pytest.CaptureFixture) -> None:
    unknown = []
    for command, options in commands():
        try:
            code = main([command, "--help"])
        except SystemExit as stopped:
            code = stopped.code or 0
        known = capsys.readouterr().out
        unknown += [f"{command}: {option}" for option in options if option not in known]
        assert code == 0, f"there is no command {command}"
    assert len(commands()) > 15
    assert unknown == []
