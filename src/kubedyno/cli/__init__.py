"""The command line: one module per verb; parses, calls, prints, exits.

Imports of everything else are lazy, so that `--help` stays fast. Knows no HTTP and no YAML of its own.
"""
