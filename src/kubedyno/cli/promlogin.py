"""Flags that say as whom a Prometheus is asked, and whom to trust; secrets also from files and from the environment."""

import argparse
import os
from pathlib import Path
from typing import TypedDict

TOKEN_VARIABLE = "KUBEDYNO_PROMETHEUS_TOKEN"  # noqa: S105 - a name, no secret
PASSWORD_VARIABLE = "KUBEDYNO_PROMETHEUS_PASSWORD"  # noqa: S105 - a name, no secret
# The system's authorities have some 200 KB together.
_MAX_FILE_BYTES = 4 << 20


def add_login_flags(parser: argparse.ArgumentParser, *, skip_tls_verify: str, short: bool) -> None:
    """Add the flags.

    Args:
        skip_tls_verify: What --skip-tls-verify is by default: "true" or "false".
        short: With kube-burner's short names.
    """
    named = {"token": ["-t"], "password": ["-p"]} if short else {}
    parser.add_argument(
        *named.get("token", []), "--token", default="", help=f"bearer token (default: {TOKEN_VARIABLE}'s value)"
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file with the bearer token")
    parser.add_argument("--username", default="", help="of basic authentication")
    parser.add_argument(
        *named.get("password", []), "--password", default="",
        help=f"of basic authentication (default: {PASSWORD_VARIABLE}'s value)",
    )  # fmt: skip
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="file with the password")
    parser.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="certificates (PEM) to trust; they are checked then"
    )
    if skip_tls_verify == "true":
        parser.add_argument(
            "--skip-tls-verify", nargs="?", const="true", choices=("true", "false"),
            help="do not check certificates (default true; false with --ca-file)",
        )  # fmt: skip
    else:
        parser.add_argument("--skip-tls-verify", action="store_const", const="true", help="do not check certificates")
    parser.set_defaults(skip_tls_verify_otherwise=skip_tls_verify)


class Credentials(TypedDict):
    """What the flags come to, by the names of `EndpointSpec` and `Login`."""

    token: str
    username: str
    password: str
    ca: bytes | None
    skip_tls_verify: bool


def login_of(arguments: argparse.Namespace) -> Credentials:
    """Return what the flags, their files and the environment say.

    Raises:
        KubedynoError: Flags contradict each other, or a file cannot be read.
    """
    from kubedyno.base.errors import KubedynoError

    for flag in ("token", "password"):
        if getattr(arguments, flag) and getattr(arguments, f"{flag}_file"):
            raise KubedynoError(f"--{flag} and --{flag}-file: give one of them")
    token = arguments.token or _secret("--token-file", arguments.token_file)
    password = arguments.password or _secret("--password-file", arguments.password_file)
    if not arguments.username:
        if password:
            raise KubedynoError("a password needs --username")
        token = token or os.environ.get(TOKEN_VARIABLE, "").strip()
    elif not password:
        password = os.environ.get(PASSWORD_VARIABLE, "")
    skip = arguments.skip_tls_verify
    if arguments.ca_file and skip == "true":
        raise KubedynoError("--ca-file and --skip-tls-verify: certificates are either checked or not; give one of them")
    if skip is None:
        skip = "false" if arguments.ca_file else arguments.skip_tls_verify_otherwise
    return {
        "token": token,
        "username": arguments.username,
        "password": password,
        "ca": _read("--ca-file", arguments.ca_file) if arguments.ca_file else None,
        "skip_tls_verify": skip == "true",
    }


def given_login_flag(arguments: argparse.Namespace) -> str:
    """Return the first of the flags that is given, "" without any."""
    names = ("token", "token_file", "username", "password", "password_file", "ca_file", "skip_tls_verify")
    return next((f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name)), "")


def _secret(flag: str, path: Path | None) -> str:
    if path is None:
        return ""
    try:
        text = _read(flag, path).decode().strip()
    except UnicodeDecodeError:
        text = ""
    if not text:
        from kubedyno.base.errors import KubedynoError

        raise KubedynoError(f"{flag} {path}: has no text in it")
    return text


def _read(flag: str, path: Path) -> bytes:
    from kubedyno.base.errors import KubedynoError

    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise KubedynoError(f"{flag} {path}: cannot be read ({error.strerror})") from error
