"""Lets `python -m commcast` be the command line."""

from commcast.cli import main

if __name__ == "__main__":
    main()
