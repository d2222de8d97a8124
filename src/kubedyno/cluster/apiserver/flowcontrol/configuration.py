"""FlowSchemas and PriorityLevelConfigurations as frozen values: who matches, and how many seats there are.

Everything here is a plain function of the objects (Kubernetes 1.36, staging/src/k8s.io/apiserver/pkg/util/flowcontrol).
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.authorization import Attributes

_ACCOUNT = "system:serviceaccount:"
ANY = "*"


@dataclass(frozen=True, slots=True)
class Subjects:
    """Whom a rule is about.

    Attributes:
        users: Names; `ANY` among them: everybody.
        groups: Likewise.
        accounts: (namespace, name) of ServiceAccounts; a name may be `ANY`.
    """

    users: frozenset[str]
    groups: frozenset[str]
    accounts: frozenset[tuple[str, str]]

    @staticmethod
    def of(raw: Iterable[Mapping[str, Any]]) -> "Subjects":
        """Return the subjects of a rule."""
        found: dict[str, list[Mapping[str, Any]]] = {"User": [], "Group": [], "ServiceAccount": []}
        for subject in raw:
            kind = subject.get("kind", "")
            part = subject.get(kind[:1].lower() + kind[1:])
            if kind in found and part:
                found[kind].append(part)
        return Subjects(
            frozenset(part.get("name", "") for part in found["User"]),
            frozenset(part.get("name", "") for part in found["Group"]),
            frozenset((part.get("namespace", ""), part.get("name", "")) for part in found["ServiceAccount"]),
        )

    def match(self, user: User) -> bool:
        """Say whether a user is among them."""
        if user.name in self.users or ANY in self.users or ANY in self.groups:
            return True
        if not self.groups.isdisjoint(user.groups):
            return True
        if not self.accounts or not user.name.startswith(_ACCOUNT):
            return False
        namespace, _, name = user.name.removeprefix(_ACCOUNT).partition(":")
        return (namespace, name) in self.accounts or (namespace, ANY) in self.accounts


@dataclass(frozen=True, slots=True)
class ResourceRule:
    """Requests about resources."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    namespaces: frozenset[str]
    cluster_scope: bool

    def match(self, asked: Attributes) -> bool:
        """Say whether a request is such."""
        what = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
        return (
            _has(self.verbs, asked.verb)
            and _has(self.groups, asked.group)
            and _has(self.resources, what)
            and (_has(self.namespaces, asked.namespace) if asked.namespace else self.cluster_scope)
        )


@dataclass(frozen=True, slots=True)
class PathRule:
    """Requests about what is no resource."""

    verbs: frozenset[str]
    paths: tuple[str, ...]

    def match(self, asked: Attributes) -> bool:
        """Say whether a request is such."""
        return _has(self.verbs, asked.verb) and any(
            path in {ANY, asked.path} or (path.endswith(ANY) and asked.path.startswith(path[:-1]))
            for path in self.paths
        )


def _has(values: frozenset[str], value: str) -> bool:
    return value in values or ANY in values


@dataclass(frozen=True, slots=True)
class Rule:
    """Subjects, and what they ask for."""

    subjects: Subjects
    resources: tuple[ResourceRule, ...]
    paths: tuple[PathRule, ...]

    def match(self, user: User, asked: Attributes) -> bool:
        """Say whether a request is such."""
        if not self.subjects.match(user):
            return False
        rules: tuple[ResourceRule, ...] | tuple[PathRule, ...] = self.paths if asked.path else self.resources
        return any(rule.match(asked) for rule in rules)


@dataclass(frozen=True, slots=True)
class Schema:
    """A FlowSchema.

    Attributes:
        distinguisher: "ByUser", "ByNamespace", or "" when all that matches is one flow.
    """

    name: str
    uid: str
    precedence: int
    level: str
    distinguisher: str
    rules: tuple[Rule, ...]

    @staticmethod
    def of(uid: str, obj: Mapping[str, Any]) -> "Schema":
        """Return the schema that an object describes."""
        spec = obj.get("spec") or {}
        return Schema(
            obj["metadata"]["name"],
            uid,
            spec.get("matchingPrecedence", 1000),
            (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
            (spec.get("distinguisherMethod") or {}).get("type", ""),
            tuple(
                Rule(
                    Subjects.of(rule.get("subjects") or ()),
                    tuple(
                        ResourceRule(
                            frozenset(each.get("verbs") or ()),
                            frozenset(each.get("apiGroups") or ()),
                            frozenset(each.get("resources") or ()),
                            frozenset(each.get("namespaces") or ()),
                            bool(each.get("clusterScope")),
                        )
                        for each in rule.get("resourceRules") or ()
                    ),
                    tuple(
                        PathRule(frozenset(each.get("verbs") or ()), tuple(each.get("nonResourceURLs") or ()))
                        for each in rule.get("nonResourceRules") or ()
                    ),
                )
                for rule in spec.get("rules") or ()
            ),
        )

    def match(self, user: User, asked: Attributes) -> bool:
        """Say whether a request is this schema's."""
        return any(rule.match(user, asked) for rule in self.rules)

    def distinguished(self, user: User, asked: Attributes) -> str:
        """Return what tells a request's flow from others of the schema."""
        if self.distinguisher == "ByUser":
            return user.name
        return asked.namespace if self.distinguisher == "ByNamespace" else ""


@dataclass(frozen=True, slots=True)
class LevelConfig:
    """A PriorityLevelConfiguration.

    Attributes:
        shares: Of the server's seats.
        lendable_percent: Of its seats that others may use while it needs them not.
        borrowing_percent: Of its seats that it may borrow; None: as many as there are.
        queues: 0: what finds no seat is refused.
        hand_size: Queues of one flow.
        queue_length: Requests that may wait in one queue.
    """

    name: str
    uid: str
    exempt: bool
    shares: int
    lendable_percent: int = 0
    borrowing_percent: int | None = None
    queues: int = 0
    hand_size: int = 0
    queue_length: int = 0

    @staticmethod
    def of(uid: str, obj: Mapping[str, Any]) -> "LevelConfig":
        """Return the level that an object describes."""
        name = obj["metadata"]["name"]
        spec = obj.get("spec") or {}
        exempt = spec.get("type") == "Exempt"
        part = spec.get("exempt" if exempt else "limited") or {}
        shares = part.get("nominalConcurrencyShares", 0 if exempt else 30)
        lendable = part.get("lendablePercent", 0)
        if exempt:
            return LevelConfig(name, uid, exempt, shares, lendable)
        response = part.get("limitResponse") or {}
        queuing = (response.get("queuing") or {}) if response.get("type") == "Queue" else {}
        return LevelConfig(
            name,
            uid,
            exempt,
            shares,
            lendable,
            part.get("borrowingLimitPercent"),
            queuing.get("queues", 0),
            queuing.get("handSize", 0),
            queuing.get("queueLengthLimit", 0),
        )


@dataclass(frozen=True, slots=True)
class Seats:
    """How many seats a level has.

    Attributes:
        nominal: Its own.
        least: What is left to it when others have borrowed what they may.
        most: What it may come to by borrowing.
    """

    nominal: int
    least: int
    most: int


def seats_of(levels: Iterable[LevelConfig], server_seats: int) -> dict[str, Seats]:
    """Divide the server's seats among levels, by their shares.

    Args:
        levels: All there are.
        server_seats: Requests that the server may have under way.
    """
    levels = list(levels)
    shares = sum(level.shares for level in levels)
    found = {}
    for level in levels:
        nominal = math.ceil(server_seats * level.shares / shares) if shares else 0
        # Go's math.Round: halves away from zero.
        lendable = math.floor(nominal * level.lendable_percent / 100 + 0.5)
        if level.borrowing_percent is None or level.exempt:
            borrowed = server_seats
        else:
            borrowed = math.floor(nominal * level.borrowing_percent / 100 + 0.5)
        found[level.name] = Seats(nominal, nominal - lendable, nominal + borrowed)
    return found


def hand_of(schema: str, distinguisher: str, queues: int, size: int) -> tuple[int, ...]:
    """Return the queues that a flow may use: `size` different ones of `queues`, the same ones each time.

    Two flows that share some of their queues rarely share all of them (shuffle sharding).
    """
    digest = hashlib.sha256(schema.encode() + b"\0" + distinguisher.encode()).digest()
    value = int.from_bytes(digest[:8], "little")
    left = list(range(queues))
    hand = []
    for _ in range(size):
        value, card = divmod(value, len(left))
        hand.append(left.pop(card))
    return tuple(hand)
