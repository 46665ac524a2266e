"""Score a model of `ssltut recipe hip` on the TotalSegmentator example, whole scan and crops, left
and right: for reporting, never for choosing.

python data_scripts/synthetic_to_real.py RUN [--mirror DIR] [--csv FILE] [--pictures DIR]
[--min-component SHARE]
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from ssltut import show
from ssltut.data.case import Case
from ssltut.data.crop_hips import crop_hips
from ssltut.errors import SsltutError
from ssltut.io.public import EXAMPLE, fetch_set, read_totalsegmentator_example
from ssltut.metrics import score_case
from ssltut.training.run import load_run


def rows_of(
    case: Case, predicted: np.ndarray, names: tuple[str, ...], view: str
) -> Iterator[dict[str, object]]:
    """Scores of the left and the right half of a scan, or of the one side of a crop."""
    across = np.arange(case.image.shape[0])[:, None, None]
    bone = np.flatnonzero((case.label == 1).any((1, 2)))
    sides = (
        {case.meta["side"]: True}
        if "side" in case.meta
        else {"left": across < bone.mean(), "right": across >= bone.mean()}
    )
    for side, mask in sides.items():
        for row in score_case(predicted * mask, case.label * mask, case.spacing, names):
            yield {"view": view, "side": side, **row}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--mirror", type=Path, help="a folder that already holds the scan: nothing is downloaded"
    )
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument(
        "--min-component",
        type=float,
        default=0.2,
        help="as in ssltut predict; two hips and two femurs are about equal (default: 0.2)",
    )
    args = parser.parse_args()
    try:
        run, scan = (
            load_run(args.run),
            read_totalsegmentator_example(fetch_set(EXAMPLE, mirror=args.mirror)),
        )
    except SsltutError as error:
        print(error, file=sys.stderr)
        return 2
    rows = []
    for view, case in {
        "whole scan": scan,
        **{f"crop {side}": crop for side, crop in crop_hips(scan).items()},
    }.items():
        predicted = run.predict(case, args.min_component)
        rows += rows_of(case, predicted, run.table.names, view.split()[0])
        if args.pictures:
            args.pictures.mkdir(parents=True, exist_ok=True)
            at = (
                np.rint(np.argwhere(case.label == 2).mean(0)).astype(int)
                if view != "whole scan"
                else np.array(case.image.shape) // 2
            )
            show.planes(
                case.image,
                spacing=case.spacing,
                overlay=predicted,
                table=run.table,
                window="bone",
                at=at,
                title=view,
                contours={"reference": case.label},
                alt=f"{view}: predicted bones in colour, the reference outlined.",
            ).save(args.pictures / f"{view.replace(' ', '_')}.png")
    table = pd.DataFrame(rows)
    print(
        table[table.metric == "dice"]
        .pivot_table(index=["view", "side"], columns="class", values="value")
        .round(3)
        .to_string()
    )
    if args.csv:
        table.to_csv(args.csv, index=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
