"""Nobody gives what they have not: roles and bindings that would grant more than their author may do are refused.

Who may `escalate` roles or `bind` a role is excepted, as are writes that leave the rules as they are.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.authorization import (
    CLUSTERROLEBINDINGS,
    GROUP,
    ROLEBINDINGS,
    ROLES,
    Attributes,
    Authorizer,
    Rule,
)
from kubedyno.cluster.apiserver.call import NO_SNIFF
from kubedyno.cluster.storage.objects import key_of
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import CLUSTERROLES, Resource
from kubedyno.kube.status import Forbidden, NotFound

Object = dict[str, Any]
_ROLE_KINDS = (ROLES, CLUSTERROLES)
_BINDING_KINDS = (ROLEBINDINGS, CLUSTERROLEBINDINGS)
# Members of what says where a part of a rule counts: a path is one.
_ON_PATH = 1
_EVERYTHING = Rule.of({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
_EVERY_PATH = Rule.of({"verbs": ["*"], "nonResourceURLs": ["*"]})
# Rules of one object that are looked at; the product of a rule's lists is what is compared.
_MAX_PARTS = 10_000


class Escalation:
    """Checks what users write about roles.

    Args:
        store: Where roles are.
        authorizer: Knows who may what.
    """

    def __init__(self, store: Store, authorizer: Authorizer) -> None:
        self._store = store
        self._authorizer = authorizer

    def check(self, user: User, resource: Resource, namespace: str, name: str, obj: Any) -> None:
        """Let an object pass that gives nobody more than its author has.

        Args:
            user: Who writes.
            resource: Of the object.
            namespace: Of the request.
            name: Of the object, "" when it is yet to be generated.
            obj: As it is to be, not checked yet.

        Raises:
            Forbidden: It gives more.
        """
        if resource.group != GROUP or user.superuser or self._authorizer.always or not isinstance(obj, dict):
            return
        if resource in _ROLE_KINDS:
            rules = [Rule.of(rule) for rule in obj.get("rules") or () if isinstance(rule, dict)]
            verb, kind, of = "escalate", resource.kind, name
            if obj.get("aggregationRule") and not self._is_same_aggregation(resource, name, obj):
                self._check_aggregation(user, resource, name)
            if rules == list(self._authorizer.rules_of(resource.kind, namespace, name)):
                return
        elif resource in _BINDING_KINDS:
            reference = obj.get("roleRef") or {}
            kind, of = str(reference.get("kind", "")), str(reference.get("name", ""))
            if self._is_unchanged(resource, key_of(namespace, name), obj):
                return
            rules, verb = list(self._authorizer.rules_of(kind, namespace, of)), "bind"
        else:
            return
        plural = resource.plural if verb == "escalate" else "roles" if reference_is_role(obj) else "clusterroles"
        if self._authorizer.allows(user, Attributes(verb, GROUP, plural, "", namespace, of)):
            return
        if verb == "bind" and self._store.get(*self._place(kind, namespace, of)) is None:
            raise NotFound(
                f'{resource.group_resource} "{of}" not found', {"name": of, "group": GROUP, "kind": resource.plural}
            )
        missing = self._missing(user, namespace, rules)
        if missing:
            dangling = " ".join(self._authorizer.dangling(user, namespace))
            groups = " ".join(f'"{group}"' for group in user.groups)
            raise Forbidden(
                f'{resource.group_resource} "{name}" is forbidden: user "{user.name}" (groups=[{groups}]) is attempting '
                "to grant RBAC permissions not currently held:\n"
                + "\n".join(missing)
                + (f"; resolution errors: [{dangling}]" if dangling else ""),
                {"name": name, "group": GROUP, "kind": resource.plural},
                headers=NO_SNIFF,
            )

    def _place(self, kind: str, namespace: str, name: str) -> tuple[Resource, str]:
        return (ROLES, key_of(namespace, name)) if kind == ROLES.kind else (CLUSTERROLES, name)

    def _is_same_aggregation(self, resource: Resource, name: str, obj: Object) -> bool:
        record = self._store.get(resource, name)
        old = {} if record is None else orjson.loads(b"{" + record.obj.body + b"}")
        return bool(old.get("aggregationRule") == obj["aggregationRule"])

    def _check_aggregation(self, user: User, resource: Resource, name: str) -> None:
        """Let those gather rules that they may not see who have them all.

        Raises:
            Forbidden: The user has not.
        """
        if self._authorizer.allows(user, Attributes("escalate", GROUP, resource.plural, "", "", name)):
            return
        if self._missing(user, "", [_EVERYTHING, _EVERY_PATH]):
            why = "must have cluster-admin privileges to use the aggregationRule"
            details = {"name": name, "group": GROUP, "kind": resource.plural}
            raise Forbidden(f'{resource.group_resource} "{name}" is forbidden: {why}', details)

    def check_approval(self, user: User, resource: Resource, name: str) -> None:
        """Let a user approve or deny a request for a certificate, who may approve those of its signer.

        Raises:
            Forbidden: The user may not.
        """
        record = self._store.get(resource, name)
        if record is None:
            return
        signer = orjson.loads(b"{" + record.obj.body + b"}")["spec"].get("signerName", "")
        domain = signer.partition("/")[0]
        for of in (signer, f"{domain}/*"):
            if self._authorizer.allows(user, Attributes("approve", resource.group, "signers", "", "", of)):
                return
        text = (
            f'{resource.group_resource} "{name}" is forbidden: user not permitted to approve requests with signerName '
        )
        details = {"name": name, "group": resource.group, "kind": resource.plural}
        raise Forbidden(f'{text}"{signer}"', details, headers=NO_SNIFF)

    def _is_unchanged(self, resource: Resource, key: str, obj: Object) -> bool:
        record = self._store.get(resource, key)
        if record is None:
            return False
        old = orjson.loads(b"{" + record.obj.body + b"}")
        return bool(old.get("subjects") == obj.get("subjects") and old.get("roleRef") == obj.get("roleRef"))

    def _missing(self, user: User, namespace: str, rules: list[Rule]) -> list[str]:
        """Return the parts of rules that a user has not been given, as the real server prints them."""
        held = [grant.rule for grant in self._authorizer.grants(user, namespace)]
        missing: dict[tuple[str, ...], list[str]] = {}
        for count, (place, verb, asked) in enumerate(_parts(rules)):
            if count >= _MAX_PARTS or not any(rule.allows(asked) and _as_wide(rule, asked) for rule in held):
                # Verbs on a path are told one by one.
                verbs = missing.setdefault(place if len(place) > _ON_PATH else (*place, verb), [])
                if verb not in verbs:
                    verbs.append(verb)
            if count >= _MAX_PARTS:
                break
        return sorted({_shown(place, verbs) for place, verbs in missing.items()})


def reference_is_role(obj: Object) -> bool:
    """Say whether a binding names a Role, not a ClusterRole."""
    return bool((obj.get("roleRef") or {}).get("kind") == "Role")


def _as_wide(rule: Rule, asked: Attributes) -> bool:
    """Say whether a rule is not limited to names where what is asked is not."""
    return not rule.names or bool(asked.name)


def _parts(rules: list[Rule]) -> Iterator[tuple[tuple[str, ...], str, Attributes]]:
    """Yield what rules allow, one verb on one thing at a time."""
    for rule in rules:
        verbs = list(dict.fromkeys(rule.raw.get("verbs") or ()))
        for url in rule.urls:
            for verb in verbs:
                yield (url,), verb, Attributes(verb, path=url)
        for group in sorted(rule.groups):
            for resource in sorted(rule.resources):
                plural, _, subresource = resource.partition("/")
                for name in sorted(rule.names) or [""]:
                    for verb in verbs:
                        yield (group, resource, name), verb, Attributes(verb, group, plural, subresource, "", name)


def _shown(place: tuple[str, ...], verbs: list[str]) -> str:
    def listed(texts: list[str]) -> str:
        return "[" + " ".join(f'"{text}"' for text in texts) + "]"

    if len(place) == _ON_PATH + 1:
        return f"{{NonResourceURLs:{listed([place[0]])}, Verbs:{listed(verbs)}}}"
    group, resource, name = place
    names = f", ResourceNames:{listed([name])}" if name else ""
    return f"{{APIGroups:{listed([group])}, Resources:{listed([resource])}{names}, Verbs:{listed(verbs)}}}"
