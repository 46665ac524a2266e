"""What methods make of a nail that no labelled scan shows: ``python results/nails.py`` draws figures/nails.png.

Five runs of ``results/phantom.py --steps 2400`` (seed 2, 4 labelled scans), trained here where they are not kept, on a test scan with a nail in
the femur. One of the unlabelled scans has one too.
"""

from pathlib import Path

from phantom import COHORT, MIDDLE, settings

from ssltut import show
from ssltut.compare import compare
from ssltut.data.cohort import cache_dir, synthetic_cohort
from ssltut.methods import METHODS
from ssltut.train import load_run

METHODS_SHOWN, STEPS, SEED, SCAN = ["labels_only", "ua_mt", "medl", "embedding_matching", "region_vote"], 2400, 2, "hip034"


def main() -> None:
    cohort, folder = synthetic_cohort(**COHORT), cache_dir() / "record" / f"phantom-{STEPS}"
    rows = compare(cohort, METHODS_SHOWN, folder, config=settings(steps=STEPS), budgets=[MIDDLE], seeds=[SEED])
    case = cohort.case(SCAN)
    scan = {"image": case.image, "spacing": case.spacing, "table": cohort.table, "at": tuple(side // 2 for side in case.image.shape)}
    shown = {"truth": scan | {"overlay": case.label}}
    for name in METHODS_SHOWN:
        tag = rows.loc[rows["method"] == name, "config"].iloc[0]
        shown[METHODS[name].title] = scan | {"overlay": load_run(folder / "runs" / f"{name}-{SEED}-{tag}").predict(case)}
    picture = show.gallery(shown, columns=3, alt="nails")
    (Path(__file__).parent / "figures" / "nails.png").write_bytes(picture.png)


if __name__ == "__main__":
    main()
