"""Impersonation: who may act as somebody else says so in headers, and is taken for that one."""

from collections.abc import Mapping
from urllib.parse import unquote

import orjson

from kubedyno.cluster.apiserver.authentication import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User
from kubedyno.cluster.apiserver.authorization import Attributes, Authorizer
from kubedyno.cluster.apiserver.call import NO_SNIFF
from kubedyno.kube.status import BadRequest, Forbidden

_PREFIX = "impersonate-"
_EXTRA = "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"
_AUTHENTICATION = "authentication.k8s.io"


def is_impersonation(headers: Mapping[str, str]) -> bool:
    """Say whether a request is to be taken for somebody else's. It is asked of every request: one search, no loop."""
    return _PREFIX in " ".join(headers)


def impersonated(user: User, headers: Mapping[str, str], authorizer: Authorizer) -> User:
    """Return whom a request is to be taken for.

    Args:
        user: Who asks.
        headers: Of the request, of which `is_impersonation` is true.
        authorizer: Says whether that is allowed, for each of name, groups, uid and extras.

    Raises:
        BadRequest: Groups, uid or extras without a name.
        Forbidden: It is not allowed.
    """
    name = headers.get("impersonate-user", "")
    groups = tuple(part for part in headers.get("impersonate-group", "").split(", ") if part)
    uid = headers.get("impersonate-uid", "")
    extra = tuple(
        (unquote(key.removeprefix(_EXTRA)), tuple(value.split(", ")))
        for key, value in headers.items()
        if key.startswith(_EXTRA)
    )
    if not name:
        if not (groups or uid or extra):
            return user
        raise BadRequest(f"requested {_in_go(groups, uid, extra)} without impersonating a user name")
    account = name.removeprefix(_ACCOUNT).split(":") if name.startswith(_ACCOUNT) else []
    asked = [
        Attributes("impersonate", resource="serviceaccounts", namespace=account[0], name=account[1])
        if len(account) == 2
        else Attributes("impersonate", resource="users", name=name)
    ]
    asked += [Attributes("impersonate", resource="groups", name=group) for group in groups]
    if uid:
        asked.append(Attributes("impersonate", _AUTHENTICATION, "uids", name=uid))
    asked += [
        Attributes("impersonate", _AUTHENTICATION, "userextras", key, name=value)
        for key, values in extra
        for value in values
    ]
    for attributes in asked:
        if not authorizer.allows(user, attributes):
            raise forbidden(user, attributes)
    if not groups and len(account) == 2:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    if name == ANONYMOUS.name:
        groups = groups or (UNAUTHENTICATED,)
    elif not {AUTHENTICATED, UNAUTHENTICATED} & set(groups):
        groups = (*groups, AUTHENTICATED)
    return User(name, groups, uid, extra)


def _in_go(groups: tuple[str, ...], uid: str, extra: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
    """Return a user without a name as Go prints it."""
    shown = ", ".join(f"{_quoted(key)}:{_strings(values)}" for key, values in sorted(extra))
    extras = "{" + shown + "}" if extra else "(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{_quoted(uid)}, Groups:{_strings(groups)}, Extra:map[string][]string{extras}}}'


def _strings(values: tuple[str, ...]) -> str:
    return "[]string" + ("{" + ", ".join(map(_quoted, values)) + "}" if values else "(nil)")


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()


def forbidden(user: User, asked: Attributes, problem: str = "") -> Forbidden:
    """Return the 403 of what a user may not do; `problem` is what is wrong with the user's bindings."""
    if asked.path:
        return Forbidden(f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"', {}, headers=NO_SNIFF)
    plural = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    what = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    where = f' in the namespace "{asked.namespace}"' if asked.namespace else " at the cluster scope"
    name = f' "{asked.name}"' if asked.name else ""
    details = {"name": asked.name} if asked.name else {}
    if asked.group:
        details["group"] = asked.group
    return Forbidden(
        f'{what}{name} is forbidden: User "{user.name}" cannot {asked.verb} resource "{plural}" in API group '
        f'"{asked.group}"{where}' + (f": {problem}" if problem else ""),
        {**details, "kind": asked.resource},
        headers=NO_SNIFF,
    )
