"""Pin what the notebooks need, with hashes: ``python data_scripts/lock.py``, or ``make lock``.

Writes requirements-lock.txt from pyproject.toml and constraints.txt, for all Pythons on Linux,
macOS and Windows: docs/install.md says how a course uses it. ``uv`` resolves it (pip install uv).
torch and what only its CUDA build needs stay out: the right build depends on the computer.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements-lock.txt"
HEAD = """\
# What the notebooks need, with hashes; torch is installed first, see docs/install.md.
# Made by 'make lock' from pyproject.toml and constraints.txt: change those, not this.
"""
LEFT_OUT = re.compile(r"(torch|triton|nvidia-|cuda-)")


def resolved() -> str:
    """All requirements as uv finds them, a line each with its hashes below."""
    command = [
        *("uv", "pip", "compile", "pyproject.toml", "--extra", "notebooks"),
        *("--constraint", "constraints.txt", "--universal", "--python-version", "3.11"),
        *("--generate-hashes", "--no-annotate", "--no-header", "--quiet"),
    ]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def without_torch(text: str) -> str:
    """The requirements without those that LEFT_OUT names."""
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)
    return "".join(block for block in blocks if not LEFT_OUT.match(block))


def main() -> int:
    """Write the lock; returns the exit code."""
    try:
        text = resolved()
    except FileNotFoundError:
        print("There is no uv here. Next: pip install uv", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"uv finds no solution:\n{error.stderr}", file=sys.stderr)
        return 1
    LOCK.write_text(HEAD + without_torch(text), encoding="utf-8", newline="\n")
    print(f"wrote {LOCK.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
