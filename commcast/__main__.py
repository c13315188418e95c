"""The program `commcast`, also as `python -m commcast`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it with 130 also while its modules are being read."""
    try:
        from commcast.cli import main as run
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("Interrupted before anything was done.\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
