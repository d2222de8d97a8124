"""`python -m kubedyno`."""

import sys

from kubedyno.cli.main import main

sys.exit(main())
