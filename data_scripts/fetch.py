"""Fetch a public data set: python data_scripts/fetch.py NAME [--out DIR] [--mirror DIR]
[--accept-licence]; without NAME, list them. As `ssltut fetch`.
"""

import sys

from ssltut.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["fetch", *sys.argv[1:]]))
