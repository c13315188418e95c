"""The program `commcast`, also as `python -m commcast`."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C exits with 130 even while its modules are being imported."""
    # Start-up makes many objects that stay: collecting garbage among them costs more than it frees.
    gc.set_threshold(10_000)
    # A plugin that happens to be installed must not change how files are read; looking for one takes time.
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
