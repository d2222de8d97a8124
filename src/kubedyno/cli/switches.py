"""Flags that are on or off, as kube-burner takes them: `--x`, `--x=true`, `--x=false`."""

import argparse

_VALUES = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


def add_switch(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    """Add a flag that is off unless it is given; `text` is its help."""
    parser.add_argument(name, nargs="?", const=True, default=False, type=_value, metavar="true|false", help=text)


def _value(text: str) -> bool:
    if text not in _VALUES:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return _VALUES[text]
