"""The command line: verbs a hospital would say. Heavy libraries load inside the verbs, so `--help` answers at once."""

from synthfed.cli.app import main

__all__ = ["main"]
