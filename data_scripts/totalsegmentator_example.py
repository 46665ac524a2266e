"""Fetch the TotalSegmentator example, a real CT with both hips (Apache-2.0), and check it."""

import argparse
import sys
from pathlib import Path

from ssltut.errors import SsltutError
from ssltut.io.public import EXAMPLE, SETS, fetch_set, read_totalsegmentator_example


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--mirror", type=Path, help="a folder that already holds the files: nothing is downloaded"
    )
    parser.add_argument("--out", type=Path, help="where to put them (default: the cache of ssltut)")
    args = parser.parse_args(words)
    try:
        folder = fetch_set(EXAMPLE, args.out, args.mirror)
        print(f"{folder}: checksums ok\n{SETS[EXAMPLE]}")
        case = read_totalsegmentator_example(folder)
    except SsltutError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{' x '.join(map(str, case.image.shape))} voxels of {case.spacing[0]:g} mm;"
        f" {case.meta['labels']}; {case.meta['pathology']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
