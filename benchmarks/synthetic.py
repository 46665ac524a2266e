"""One synthetic hip CT, healthy and with a nail. It has no peer."""

from turns import Row, in_turns

from ssltut.synthetic.anatomy import Pathology
from ssltut.synthetic.hip import make_case


def rows() -> list[Row]:
    found = []
    kinds = {"healthy": Pathology(), "with a nail": Pathology(implant=True)}
    for size, rounds in ((64, 5), (96, 5), (192, 1)):
        for kind, ill in kinds.items():
            work = {"ours": lambda size=size, ill=ill: make_case(1, size=size, pathology=ill)}
            what = f"synthetic hip {size}³, {kind}"
            found.append(Row(what, "half of 28 November", in_turns(work, rounds)))
    return found
