"""The program `commcast`, also as `python -m commcast`."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it with 130 also while its modules are being read."""
    # Start-up makes many objects that stay: looking for garbage among them so often costs more than it frees.
    gc.set_threshold(10_000)
    # What happens to be installed beside us must not change how files are read; looking for it takes time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    try:
        from commcast.cli import main as run
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("Interrupted before anything was done.\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
