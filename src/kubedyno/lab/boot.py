"""The first lines of an embedded cluster's process: `python -m kubedyno.lab.boot STATE_DIR READY_FD`.

Imports make many objects and no garbage: with the collector on they take a tenth of a second longer.
"""

import gc
import sys

if __name__ == "__main__":
    gc.disable()
    from kubedyno.lab.server import main

    sys.exit(main(sys.argv[1:]))
