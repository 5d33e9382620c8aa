"""``python -m climdask.cli``: what the scripts of batch jobs call."""

import sys

from climdask.cli import main

if __name__ == "__main__":
    sys.exit(main())
