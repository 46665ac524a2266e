"""Every campaign at length: ``make campaign``, or ``python tests/campaigns [NAME ...] [--seed 0]``.

Prints how many trials ended as promised, and what broke; ``--write`` puts the counts into
RELIABILITY.md. ``--share 0.1`` does a tenth of the trials.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ |= {"SSLTUT_FRONTEND": "static", "TQDM_DISABLE": "1"}
KEPT = ROOT / "build" / "campaigns"


def main() -> int:
    import kills
    from counts import write_counts
    from every import CAMPAIGNS
    from trials import Outcome, run

    names = [*CAMPAIGNS, *kills.COMMANDS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--write", action="store_true", help="the counts go into RELIABILITY.md")
    args = parser.parse_args()
    if unknown := set(args.names) - set(names):
        parser.error(f"there is no campaign {', '.join(unknown)}")
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="campaigns-") as folder:
        os.environ["SSLTUT_CACHE"] = folder
        for name in args.names or names:
            begun, place = time.monotonic(), Path(folder) / name
            if name in CAMPAIGNS:
                campaign = CAMPAIGNS[name](place)
                outcome = run(campaign, max(1, round(campaign.long * args.share)), args.seed, KEPT)
            else:
                victim = kills.victims(place / "inputs", [name])[name]
                n = max(1, round(kills.LONG * args.share))
                outcome = kills.run(victim, n, place / "kills", args.seed)
            outcomes.append(outcome)
            minutes = (time.monotonic() - begun) / 60
            print(f"{name}: {outcome.kept} of {outcome.tried} kept, {minutes:.1f} min", flush=True)
            for number, problem in outcome.broken.items():
                print(f"  {number}: {problem}", flush=True)
    if args.write:
        write_counts(outcomes, args.seed, ROOT / "RELIABILITY.md")
    return 1 if any(outcome.broken for outcome in outcomes) else 0


if __name__ == "__main__":
    raise SystemExit(main())
