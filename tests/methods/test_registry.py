"""Methods by name: what is refused, and runs of old that are found again."""

import json
import subprocess
import sys

import pytest

from ssltut.cli.main import METHODS_FILE
from ssltut.errors import ConfigError
from ssltut.methods.contract import FIDELITIES, Method
from ssltut.methods.registry import METHODS, fidelity_of, make_method, title_of

FORMS = [make_method(name) for name in METHODS] + [
    make_method("vote_beside", {"host": "medl", "by": "place"}),
    make_method("embedding_matching", {"threshold": 0.05, "use": ["UA"]}),
]


@pytest.mark.parametrize("method", FORMS, ids=lambda method: method.name)
def test_a_method_comes_back_from_the_identity_of_its_run(method):
    identity = json.loads(json.dumps(method.identity))
    assert make_method(identity["method"], identity["options"]) == method


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("embeding_matching", {}, "did you mean embedding_matching"),
        ("zzz", {}, "labels_only"),
        ("mean_teacher", {"wight": 1.0}, "there is no option 'wight'"),
        ("mean_teacher", {"weight": "much"}, "give a value like 0.2"),
        ("mean_teacher", {"weight": -1.0}, "weight is -1.0"),
        ("embedding_matching", {"kernel": "cosine"}, "kernel is 'cosine'"),
        ("embedding_matching", {"use": ["UA", "XX"]}, "choose among UA, NN, EN"),
        ("embedding_matching", {"memory": 5}, "there is no option 'memory'"),
        ("embedding_matching", {"threshold": 1.0}, "threshold is 1.0"),
        ("embedding_matching", {"threshold": "half"}, "threshold is 'half'"),
        ("embedding_matching", {"passes": 0}, "passes is 0"),
        ("region_vote", {"region": 4}, "region is 4"),
        ("region_vote", {"floor": 1.0}, "floor is 1.0"),
        ("region_vote", {"place": -1.0}, "place is -1.0"),
        ("region_vote", {"by": "layer"}, "by is 'layer'"),
        ("region_vote", {"gate": 1.0}, "gate is 1.0"),
        ("vote_beside", {"host": "bcp"}, "host is 'bcp'"),
        ("vote_beside", {"start": 0.0}, "start is 0.0"),
        ("vote_beside", {"slow": 1.1}, "slow is 1.1"),
        ("vote_beside", {"scans": -1.0}, "scans is -1.0"),
        ("vote_beside", {"rate": 0.0}, "rate is 0.0"),
        ("vote_beside", {"by": "embedding"}, "by is 'embedding'"),
        ("region_vote", {"layer": "both"}, "there is no option 'layer'"),
        ("late_vote", {}, "there is no method late_vote any more"),
        ("scan_vote", {"start": 0.5}, "train vote_beside with host=ua_mt"),
        ("evidential_vote", {}, "train vote_beside with host=medl"),
    ],
)
def test_wrong_methods_and_options_are_refused(name, options, words):
    with pytest.raises(ConfigError, match=words):
        make_method(name, options)


def test_options_come_as_a_command_line_or_json_gives_them():
    method = make_method("embedding_matching", {"w_ua": 1, "use": "UA,NN", "threshold": 0.5})
    assert (method.w_ua, method.use, method.threshold) == (1.0, ("UA", "NN"), 0.5)
    assert isinstance(method.w_ua, float)


def test_an_annotated_fact_is_no_option():
    with pytest.raises(TypeError, match="title must have no annotation"):

        class Wrong(Method):
            title: str = "wrong"


def test_a_subclass_needs_no_decorator():
    class Longer(METHODS["ua_mt"]):
        name = "longer"
        passes: int = 16

    assert Longer().options["passes"] == 16
    assert Longer(passes=4) == Longer(passes=4)


def test_the_written_table_says_what_the_methods_say(request):
    """``ssltut methods`` reads the file; ``--write-golden`` writes it again."""
    table = [
        {
            "name": method.name,
            "title": method.title,
            "paper": method.paper,
            "year": method.year,
            "fidelity": method.fidelity,
            "uses": str(method.supervision),
            "ideas": method.ideas,
            "options": method().options,
        }
        for method in METHODS.values()
    ]
    text = json.dumps({"methods": table, "fidelity": FIDELITIES}, indent=1, ensure_ascii=False)
    if request.config.getoption("--write-golden"):
        METHODS_FILE.write_text(text + "\n", encoding="utf-8")
    assert METHODS_FILE.read_text(encoding="utf-8") == text + "\n", (
        "write it again: python -m pytest tests/methods/test_registry.py --write-golden"
    )
    assert all(row["paper"] and row["fidelity"] in FIDELITIES for row in table)


def test_the_methods_are_listed_without_torch():
    code = "import sys; from ssltut.cli.main import main; main(['methods']); "
    code += "sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_titles_of_results_outlive_their_methods():
    assert title_of("ua_mt") == "UA-MT"
    assert title_of("place_vote") == "embedding matching, place vote"
    assert title_of("evidential_vote") == "vote by looks and place beside MEDL"
    assert title_of("my own") == "my own"
    names = ("ua_mt", "medl", "rpg", "region_vote", "late_vote", "my own")
    words = ["published", "adapted", "reconstruction", "adapted", "adapted", ""]
    assert [fidelity_of(name) for name in names] == words
