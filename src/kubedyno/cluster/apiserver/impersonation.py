"""Impersonation: who may act as somebody else says so in headers, and is taken for that one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

import orjson

from kubedyno.cluster.apiserver.authentication import (
    ANONYMOUS,
    AUTHENTICATED,
    MASTERS,
    NODES,
    UNAUTHENTICATED,
    User,
)
from kubedyno.cluster.apiserver.authorization import Attributes, Authorizer
from kubedyno.cluster.apiserver.call import NO_SNIFF
from kubedyno.cluster.apiserver.flowcontrol.requestinfo import attributes_of
from kubedyno.http.messages import Request
from kubedyno.kube.names import problems_of_dns1123_subdomain
from kubedyno.kube.status import BadRequest, Forbidden

_PREFIX = "impersonate-"
_EXTRA = "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"
_NODE = "system:node:"
# In a ServiceAccount token's extra: the node of the pod that it is bound to.
NODE_NAME = "authentication.kubernetes.io/node-name"
# Since when the modes of `_CONSTRAINED` are on by default.
CONSTRAINED_MINOR = 36
_REMEMBERED = 1024
_AUTHENTICATION = "authentication.k8s.io"


def is_impersonation(headers: Mapping[str, str]) -> bool:
    """Say whether a request is to be taken for somebody else's. It is asked of every request: one search, no loop."""
    return _PREFIX in " ".join(headers)


# Modes' names, and whether one check in each was passed.
Checks = tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Mode:
    """A way in which somebody may be let act as somebody else.

    Attributes:
        name: After which its verbs are named, "" for the verb "impersonate" alone, which counts for every request.
        means: Says whether it is about whom the headers want, for who asks.
    """

    name: str
    means: Callable[[User, User], bool]


@dataclass(frozen=True, slots=True)
class Impersonated(User):
    """Somebody as whom another acts.

    Attributes:
        asker: Who acts so.
        mode: The name of what allowed it, see `Mode`.
        checks: What was asked for that: modes' names, and whether they allowed a part of it.
    """

    asker: User = field(default=ANONYMOUS, compare=False)
    mode: str = field(default="", compare=False)
    checks: Checks = field(default=(), compare=False)


class Impersonation:
    """Answers whom a request is to be taken for.

    Args:
        authorizer: Says whether that is allowed, for each of name, groups, uid and extras.
        constrained: Besides "impersonate" there are the modes of `_CONSTRAINED`, which ask for
            "impersonate-on:MODE:VERB" on what the request is about and "impersonate:MODE" on whom it is taken for
            (KEP 5284).
    """

    def __init__(self, authorizer: Authorizer, *, constrained: bool) -> None:
        self._authorizer = authorizer
        self._modes = (*_CONSTRAINED, _LEGACY) if constrained else (_LEGACY,)
        # Who asked → the mode that allowed it last: it is asked first.
        self._last: dict[User, Mode] = {}

    def impersonated(self, user: User, request: Request) -> User:
        """Return whom a request is to be taken for: `Impersonated`, or who asks when the headers name nobody.

        Args:
            user: Who asks.
            request: Of whose headers `is_impersonation` is true.

        Raises:
            BadRequest: Groups, uid or extras without a name.
            Forbidden: It is not allowed.
        """
        found, _ = self.decision(user, request)
        if isinstance(found, Forbidden):
            raise found
        return found

    def decision(self, user: User, request: Request) -> tuple[User | Forbidden, Checks]:
        """Return whom a request is to be taken for or why it is not, and what was asked for that.

        Raises:
            BadRequest: Groups, uid or extras without a name.
        """
        wanted = _wanted(request.headers)
        if wanted is None:
            return user, ()
        checks: list[tuple[str, bool]] = []
        last = self._last.get(user)
        modes = self._modes if last is None else (last, *(mode for mode in self._modes if mode is not last))
        refusal: Forbidden | None = None
        for mode in modes:
            if not mode.means(wanted, user):
                continue
            try:
                actual = self._checked(mode, user, wanted, request, checks)
            except Forbidden as error:
                refusal = refusal or error
                continue
            if mode is not last:
                if len(self._last) >= _REMEMBERED:
                    self._last.clear()
                self._last[user] = mode
            made = tuple(checks)
            return Impersonated(actual.name, actual.groups, actual.uid, actual.extra, user, mode.name, made), made
        assert refusal is not None
        return refusal, tuple(checks)

    def _checked(self, mode: Mode, user: User, wanted: User, request: Request, checks: list[tuple[str, bool]]) -> User:
        """Return whom a request is taken for in one mode.

        Args:
            mode: The mode.
            user: Who asks.
            wanted: Whom the headers name.
            request: The request.
            checks: Gets what is asked.

        Raises:
            Forbidden: The mode does not allow it.
        """
        if mode.name:
            asked = attributes_of(request)
            self._check(user, replace(asked, verb=f"impersonate-on:{mode.name}:{asked.verb}"), mode, checks)
        for attributes in _asked(mode, wanted):
            self._check(user, attributes, mode, checks)
        groups, account, node = wanted.groups, _account_of(wanted.name), mode.name and _node_of(wanted.name)
        if not groups and account:
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
        elif not groups and node:
            groups = (NODES,)
        if wanted.name == ANONYMOUS.name:
            groups = groups if UNAUTHENTICATED in groups else (*groups, UNAUTHENTICATED)
        elif not {AUTHENTICATED, UNAUTHENTICATED} & set(groups):
            groups = (*groups, AUTHENTICATED)
        return User(wanted.name, groups, wanted.uid, wanted.extra)

    def _check(self, user: User, asked: Attributes, mode: Mode, checks: list[tuple[str, bool]]) -> None:
        allowed = self._authorizer.allows(user, asked)
        checks.append((mode.name, allowed))
        if not allowed:
            raise forbidden(user, asked, self._authorizer.objection(user, asked))


def _wanted(headers: Mapping[str, str]) -> User | None:
    """Return whom headers name, as they do; None: nobody."""
    name = headers.get("impersonate-user", "")
    groups = tuple(part for part in headers.get("impersonate-group", "").split(", ") if part)
    uid = headers.get("impersonate-uid", "")
    extra = tuple(
        (unquote(key.removeprefix(_EXTRA)), tuple(value.split(", ")))
        for key, value in headers.items()
        if key.startswith(_EXTRA)
    )
    if name:
        return User(name, groups, uid, extra)
    if not (groups or uid or extra):
        return None
    raise BadRequest(f"requested {_in_go(groups, uid, extra)} without impersonating a user name")


def _asked(mode: Mode, wanted: User) -> Iterator[Attributes]:
    """Yield what a mode asks for, for each part of whom is wanted."""
    verb, core = (f"impersonate:{mode.name}", _AUTHENTICATION) if mode.name else ("impersonate", "")
    account, node = _account_of(wanted.name), mode.name and _node_of(wanted.name)
    if account:
        yield Attributes(verb, core, "serviceaccounts", namespace=account[0], name=account[1])
    elif node:
        # Of the node that a pod's token names there is one; whose role allows it says so for all.
        yield Attributes(verb, core, "nodes", name="*" if mode.name == _ASSOCIATED else node)
    else:
        yield Attributes(verb, core, "users", name=wanted.name)
    if wanted.uid:
        yield Attributes(verb, _AUTHENTICATION, "uids", name=wanted.uid)
    for group in wanted.groups:
        asked = Attributes(verb, core, "groups", name=group)
        if mode.name and group == MASTERS:
            raise forbidden(wanted, asked, "impersonating the system:masters group is not allowed")
        yield asked
    for key, values in wanted.extra:
        for value in values:
            yield Attributes(verb, _AUTHENTICATION, "userextras", key, name=value)


def _account_of(name: str) -> tuple[str, str] | None:
    """Return namespace and name of a ServiceAccount's user."""
    parts = name.removeprefix(_ACCOUNT).split(":") if name.startswith(_ACCOUNT) else []
    return (parts[0], parts[1]) if len(parts) == 2 and all(parts) else None


def _node_of(name: str) -> str:
    """Return the node of a kubelet's user, "" for other users."""
    node = name.removeprefix(_NODE) if name.startswith(_NODE) else ""
    return node if node and not problems_of_dns1123_subdomain(node) else ""


def _is_bare(wanted: User) -> bool:
    return not (wanted.groups or wanted.uid or wanted.extra)


def _is_own_node(wanted: User, user: User) -> bool:
    node = _node_of(wanted.name)
    return (
        bool(node) and _is_bare(wanted) and dict(user.extra).get(NODE_NAME) == (node,) and bool(_account_of(user.name))
    )


_ASSOCIATED = "associated-node"
_CONSTRAINED = (
    Mode(_ASSOCIATED, _is_own_node),
    Mode("arbitrary-node", lambda wanted, _: _is_bare(wanted) and bool(_node_of(wanted.name))),
    Mode("serviceaccount", lambda wanted, _: _is_bare(wanted) and _account_of(wanted.name) is not None),
    Mode("user-info", lambda wanted, _: not (_node_of(wanted.name) or _account_of(wanted.name))),
)
_LEGACY = Mode("", lambda _wanted, _user: True)


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
        what = f'User "{user.name}" cannot {asked.verb} path "{asked.path}"' + (f": {problem}" if problem else "")
        return Forbidden(f"forbidden: {what}", {}, headers=NO_SNIFF)
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
