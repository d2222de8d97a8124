"""Sprig on URLs."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from kubedyno.base.goquote import go_quote
from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.gofmt import type_name
from kubedyno.load.plan.gotemplate.sprig.values import text_of


def _url_parse(text: Any) -> dict[str, Any]:
    if text_of(text).startswith(":"):
        raise FunctionError(f"unable to parse url: parse {go_quote(text)}: missing protocol scheme")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        what = "missing ']' in host" if "[" in text else str(error)
        raise FunctionError(f'unable to parse url: parse "{text}": {what}') from error
    for part in (parts.path, parts.fragment):
        if wrong := re.search(r"%(?![0-9a-fA-F]{2}).{0,2}", part):
            raise FunctionError(f"unable to parse url: parse {go_quote(text)}: invalid URL escape {go_quote(wrong[0])}")
    host = parts.netloc.rpartition("@")[2]
    is_opaque = bool(parts.scheme) and not parts.netloc and not parts.path.startswith("/")
    return {
        "scheme": parts.scheme,
        "host": host,
        "hostname": re.sub(r":\d*$", "", host).strip("[]"),
        "path": "" if is_opaque else unquote(parts.path),
        "query": parts.query,
        "opaque": parts.path if is_opaque else "",
        "fragment": unquote(parts.fragment),
        "userinfo": parts.netloc.rpartition("@")[0],
    }


def _url_join(parts: dict[str, Any]) -> str:
    def part(name: str) -> str:
        value = parts.get(name, "")
        if not isinstance(value, str):
            raise FunctionError(f"unable to parse {name} key, must be of type string, but {type_name(value)} found")
        return value

    scheme, host, user = part("scheme"), part("host"), part("userinfo")
    text = f"{scheme}:" if scheme else ""
    if part("opaque"):
        text += part("opaque")
    else:
        if host or user:
            text += f"//{user}@{host}" if user else f"//{host}"
        path = part("path")
        text += ("/" if path and not path.startswith("/") and host else "") + quote(path, safe="/:@&=+$,;!*'()~")
    return text + (f"?{part('query')}" if part("query") else "") + (f"#{part('fragment')}" if part("fragment") else "")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "urlParse": _url_parse,
    "urlJoin": _url_join,
}
