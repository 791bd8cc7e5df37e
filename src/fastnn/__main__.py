"""`python -m fastnn`, and where the console script `fastnn` finds `main`. The commands are in cli/."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
