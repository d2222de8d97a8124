"""`kubedyno kyaml`: YAML, JSON or KYAML to KYAML, or to block YAML, with comments kept."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("file", nargs="*", default=["-"], help="files; - (the default) is standard input")
    parser.add_argument("--to", choices=("kyaml", "yaml"), default="kyaml", help="what to write (default %(default)s)")
    parser.add_argument("--compact", action="store_true", help="a line a document, without comments")
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Convert; exit code 1 when a file is no YAML."""
    from kubedyno.base.errors import KubedynoError
    from kubedyno.kube import kyaml

    if arguments.compact and arguments.to == "yaml":
        raise KubedynoError("--compact: only KYAML is written on one line, not --to yaml")
    for name in arguments.file:
        path = "standard input" if name == "-" else name
        try:
            data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
            text = data.decode()
        except OSError as error:
            raise KubedynoError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise KubedynoError(f"{path}: not UTF-8 at byte {error.start}") from error
        shown = kyaml.encode_file(text, path, compact=arguments.compact, to_block=arguments.to == "yaml")
        for line in kyaml.merge_lines(text):
            print(f'kubedyno: warning: {path}:{line}: merge key: written as an ordinary key "<<"', file=sys.stderr)
        sys.stdout.write(shown)
    return 0
