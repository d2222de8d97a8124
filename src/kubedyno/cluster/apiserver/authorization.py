"""Who may do what: roles and bindings, evaluated as they stand in the store.

Who is in system:masters may do everything, before any table is looked at. Every other answer is kept until a role or a
binding changes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.resources import CLUSTERROLES, built_in

GROUP = "rbac.authorization.k8s.io"
_ACCOUNT = "system:serviceaccount:"
# Answers that are kept; forgotten all at once.
_REMEMBERED = 16384


ROLES = built_in(GROUP, "roles")
ROLEBINDINGS, CLUSTERROLEBINDINGS = built_in(GROUP, "rolebindings"), built_in(GROUP, "clusterrolebindings")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a role.

    Attributes:
        raw: As the role has it.
    """

    raw: dict[str, Any]
    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    urls: tuple[str, ...]

    @staticmethod
    def of(raw: dict[str, Any]) -> "Rule":
        """Return the rule that a role's JSON describes."""
        return Rule(
            raw,
            frozenset(raw.get("verbs") or ()),
            frozenset(raw.get("apiGroups") or ()),
            frozenset(raw.get("resources") or ()),
            frozenset(raw.get("resourceNames") or ()),
            tuple(raw.get("nonResourceURLs") or ()),
        )

    def allows(self, asked: "Attributes") -> bool:
        """Say whether it allows what is asked."""
        if asked.verb not in self.verbs and "*" not in self.verbs:
            return False
        if asked.path:
            return any(_covers(url, asked.path) for url in self.urls)
        if asked.group not in self.groups and "*" not in self.groups:
            return False
        if self.names and asked.name not in self.names:
            return False
        resources = self.resources
        what = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
        if what in resources or "*" in resources:
            return True
        return bool(asked.subresource) and f"*/{asked.subresource}" in resources


def _covers(url: str, path: str) -> bool:
    return url in {"*", path} or (url.endswith("*") and path.startswith(url[:-1]))


@dataclass(frozen=True, slots=True)
class Attributes:
    """What somebody wants to do.

    Attributes:
        verb: "get", "list", "impersonate", …
        group: API group.
        resource: Plural; "" for a path.
        subresource: "" for the object itself.
        namespace: "" for all, or none.
        name: Of one object.
        path: What is no resource, e.g. "/metrics".
        selector: The field selector of a list or watch, where the user is a kubelet: see `nodeauthorization`.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    selector: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A rule that a binding gives to a subject.

    Attributes:
        rule: What is allowed.
        namespace: Where; "" everywhere.
        reason: Which binding and role.
    """

    rule: Rule
    namespace: str
    reason: str


class Authorizer:
    """Evaluates roles.

    Args:
        store: Where roles and bindings are.
        always: Whoever is known may do everything (AlwaysAllow).

    Attributes:
        kubelets: Says why a node's kubelet may not do something: "" when it may, "-" when roles alone decide. None:
            kubelets are users like any other.
    """

    def __init__(self, store: Store, *, always: bool = False) -> None:
        self.always = always
        self.kubelets: Callable[[str, Attributes], str] | None = None
        self._store = store
        self._stale = True
        self._answers: dict[tuple[Any, ...], str] = {}
        # Parsed rules by identity of their record: roles are few, and change rarely.
        self._rules: dict[int, tuple[ObjectRecord, tuple[Rule, ...]]] = {}
        self._known: dict[int, tuple[ObjectRecord, tuple[Rule, ...]]] = {}
        self._by_user: dict[str, list[Grant]] = {}
        self._by_group: dict[str, list[Grant]] = {}
        # (user or group, namespace) → roles that are bound to it, and not there.
        self._dangling: dict[tuple[str, str], list[str]] = {}
        for resource in (ROLES, CLUSTERROLES, ROLEBINDINGS, CLUSTERROLEBINDINGS):
            store.table(resource).subscribe(self._changed)

    def _changed(self) -> None:
        self._stale = True

    def allows(self, user: User, asked: Attributes) -> bool:
        """Say whether a user may do something."""
        return user.superuser or bool(self.reason(user, asked))

    def reason(self, user: User, asked: Attributes) -> str:
        """Return why a user may do something, "" when nothing allows it."""
        if user.superuser:
            return "system:masters"
        if user.node and self.kubelets is not None and not self.kubelets(user.node, asked):
            return "Node"
        if self._stale:
            self._read()
        key = (user.name, user.groups, asked)
        reason = self._answers.get(key)
        if reason is None:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            found = (grant.reason for grant in self.grants(user, asked.namespace) if grant.rule.allows(asked))
            reason = self._answers[key] = next(found, "")
        if not reason and self.always and user.name != "system:anonymous":
            return "AlwaysAllow"
        return reason

    def grants(self, user: User, namespace: str) -> Iterator[Grant]:
        """Yield what a user has been given that counts in a namespace, or without one."""
        if self._stale:
            self._read()
        lists = [self._by_user.get(user.name, ()), *(self._by_group.get(group, ()) for group in user.groups)]
        for grants in lists:
            for grant in grants:
                if not grant.namespace or grant.namespace == namespace:
                    yield grant

    def objection(self, user: User, asked: Attributes) -> str:
        """Return what to tell a user who may not do something, beside that; "" for nothing."""
        if user.node and self.kubelets is not None:
            return self.kubelets(user.node, asked).removeprefix("-")
        return self.problem(user, asked.namespace)

    def problem(self, user: User, namespace: str) -> str:
        """Return what is wrong with a user's bindings: roles that do not exist; "" when nothing is."""
        found = self.dangling(user, namespace)
        if not found:
            return ""
        return f"RBAC: {found[0]}" if len(found) == 1 else f"RBAC: [{', '.join(found)}]"

    def dangling(self, user: User, namespace: str) -> list[str]:
        """Return which roles a user is bound to that do not exist."""
        if self._stale:
            self._read()
        places = ("",) if not namespace else ("", namespace)
        return [
            text
            for name in (user.name, *user.groups)
            for place in places
            for text in self._dangling.get((name, place), ())
        ]

    # --- roles and bindings --------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Read all bindings anew, and the roles that have changed."""
        self._stale = False
        self._answers.clear()
        self._by_user, self._by_group, self._dangling = {}, {}, {}
        store = self._store
        self._known, self._rules = self._rules, {}
        for record in store.table(CLUSTERROLEBINDINGS).all():
            self._bind(store.encode_dict(CLUSTERROLEBINDINGS, record), "")
        for record in store.table(ROLEBINDINGS).all():
            self._bind(store.encode_dict(ROLEBINDINGS, record), record.obj.namespace)

    def _bind(self, binding: dict[str, Any], namespace: str) -> None:
        reference = binding.get("roleRef", {})
        name, kind = reference.get("name", ""), reference.get("kind", "")
        rules = self.rules_of(kind, namespace, name)
        if not rules:
            self._miss(binding, kind, namespace, name)
            return
        own = binding["metadata"]["name"]
        what = f'RoleBinding "{own}/{namespace}"' if namespace else f'ClusterRoleBinding "{own}"'
        for subject in binding.get("subjects", ()):
            table, key, shown = self._place(subject, namespace)
            reason = f'RBAC: allowed by {what} of {kind} "{name}" to {shown}'
            table.setdefault(key, []).extend(Grant(rule, namespace, reason) for rule in rules)

    def _miss(self, binding: dict[str, Any], kind: str, namespace: str, name: str) -> None:
        """Take note of a role that is bound and not there."""
        resource, key = (ROLES, f"{namespace}/{name}") if kind == "Role" else (CLUSTERROLES, name)
        if self._store.get(resource, key) is None:
            text = f'{kind.lower()}.{GROUP} "{name}" not found'
            for subject in binding.get("subjects", ()):
                self._dangling.setdefault((self._place(subject, namespace)[1], namespace), []).append(text)

    def _place(self, subject: dict[str, Any], namespace: str) -> tuple[dict[str, list[Grant]], str, str]:
        kind, name = subject.get("kind"), subject.get("name", "")
        if kind == "Group":
            return self._by_group, name, f'Group "{name}"'
        if kind == "ServiceAccount":
            of = subject.get("namespace") or namespace
            return self._by_user, f"{_ACCOUNT}{of}:{name}", f'ServiceAccount "{name}/{of}"'
        return self._by_user, name, f'User "{name}"'

    def rules_of(self, kind: str, namespace: str, name: str) -> tuple[Rule, ...]:
        """Return the rules of a role, none when it does not exist."""
        resource, key = (ROLES, f"{namespace}/{name}") if kind == "Role" else (CLUSTERROLES, name)
        record = self._store.get(resource, key)
        if record is None:
            return ()
        known = self._rules.get(id(record)) or self._known.get(id(record))
        if known is None or known[0] is not record:
            body = orjson.loads(b"{" + record.obj.body + b"}")
            known = (record, tuple(Rule.of(rule) for rule in body.get("rules") or ()))
        self._rules[id(record)] = known
        return known[1]
