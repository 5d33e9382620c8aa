"""``python -m climdask``: the command line."""

import sys

from climdask.cli import main

if __name__ == "__main__":
    sys.exit(main())
