#!/usr/bin/env python3
"""`make setup`: build .venv from the lock file and Horovod for it. See command.py.

This file runs under any Python, to tell an old one what is missing; hence its plain syntax.
"""

import sys

OLDEST, NEWEST = (3, 11), (3, 13)

if __name__ == "__main__":
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.exit(
            "setup needs Python %d.%d to %d.%d, this is %d.%d: "
            "install one and run, say, `make setup PYTHON=python3.11`"
            % (OLDEST + NEWEST + tuple(sys.version_info[:2]))
        )
    import command

    sys.exit(command.main())
