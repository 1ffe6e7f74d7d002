"""``python -m eventpipe``: the same as the ``eventpipe`` command."""

from __future__ import annotations

import sys

from eventpipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
