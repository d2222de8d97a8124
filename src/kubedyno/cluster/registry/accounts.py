"""Service accounts at admission: whether a pod's is there, and what it gives the pod and lets it reference.

Most accounts say nothing of their own; their pods cost a look at a few bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from kubedyno.cluster.registry.codec import meta_dict
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.names import problems_of_path_segment
from kubedyno.kube.resources import PODS, SERVICEACCOUNTS
from kubedyno.kube.status import Forbidden, forbidden

TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 - a name's beginning
_MIRROR = "kubernetes.io/config.mirror"
# An annotation of accounts: their pods may reference only the secrets that they list.
ENFORCE_SECRETS = "kubernetes.io/enforce-mountable-secrets"
# What of an account its pods notice.
_ENFORCES, _PULLS, _MOUNTS = ENFORCE_SECRETS.encode(), b'"imagePullSecrets"', b'"automountServiceAccountToken"'


@dataclass(frozen=True, slots=True)
class Account:
    """What a service account says of its pods.

    Attributes:
        name: Its name.
        pull_secrets: imagePullSecrets for pods that have none.
        mounts_token: Whether pods that do not say get its token.
        secrets: The only secrets that pods may reference; None: any.
    """

    name: str = ""
    pull_secrets: tuple[Object, ...] = ()
    mounts_token: bool = True
    secrets: frozenset[str] | None = None


# Says nothing of its pods: they need not be looked at.
PLAIN = Account()


def account_of(record: ObjectRecord) -> Account:
    """Return what a ServiceAccount says of its pods, `PLAIN` for nothing."""
    obj = record.obj
    if _PULLS not in obj.body and _MOUNTS not in obj.body and _ENFORCES not in obj.meta:
        return PLAIN
    enforced = meta_dict(obj).get("annotations", {}).get(ENFORCE_SECRETS) == "true"
    body = orjson.loads(b"{" + obj.body + b"}")
    return Account(
        obj.name,
        tuple(body.get("imagePullSecrets") or ()),
        body.get("automountServiceAccountToken") is not False,
        frozenset(each.get("name", "") for each in body.get("secrets") or ()) if enforced else None,
    )


def is_mirror(pod: Object) -> bool:
    """Say whether a pod stands for a static one of a kubelet."""
    return _MIRROR in pod["metadata"].get("annotations", {})


def admitting_account(store: Store, namespace: str, pod: Object) -> Account:
    """Return a new pod's account.

    Raises:
        Forbidden: It does not exist, or the pod references what it may not.
    """
    name = pod["metadata"].get("name", "")
    if is_mirror(pod):
        problem = _mirror_problem(pod["spec"])
        if problem:
            raise forbidden(PODS, name, problem)
        return PLAIN
    account = pod["spec"].get("serviceAccountName") or "default"
    record = store.get(SERVICEACCOUNTS, f"{namespace}/{account}")
    if record is None:
        raise no_service_account(namespace, account, name)
    found = account_of(record)
    check_secrets(pod, found)
    return found


def no_service_account(namespace: str, account: str, pod: str) -> Forbidden:
    """Return the error of a pod whose service account does not exist."""
    why = f'serviceaccount "{account}" not found'
    if problems := problems_of_path_segment(account):
        why = f'invalid resource name "{account}": [{" ".join(problems)}]'
    why = f"error looking up service account {namespace}/{account}: {why}"
    return forbidden(PODS, pod, why)


def check_secrets(pod: Object, account: Account) -> None:
    """Check that a pod references only secrets that its account lists, where it says that they are the only ones.

    Raises:
        Forbidden: It references another.
    """
    if account.secrets is None:
        return
    for secret, what in _references(pod["spec"]):
        if secret not in account.secrets:
            raise forbidden(
                PODS, pod["metadata"].get("name", ""),
                f"{what} is not allowed because service account {account.name} does not reference that secret",
            )  # fmt: skip
    pulls = {each.get("name", "") for each in account.pull_secrets}
    for i, each in enumerate(pod["spec"].get("imagePullSecrets", ())):
        if each.get("name", "") not in pulls:
            raise forbidden(
                PODS, pod["metadata"].get("name", ""),
                f'imagePullSecrets[{i}].name="{each.get("name", "")}" is not allowed because service account {account.name} '
                "does not reference that imagePullSecret",
            )  # fmt: skip


def _references(spec: Object) -> Iterator[tuple[str, str]]:
    """Yield the secrets of a pod's volumes and variables, and how an error names them."""
    for volume in spec.get("volumes", ()):
        if "secret" in volume:
            name = volume["secret"].get("secretName", "")
            yield name, f'volume with secret.secretName="{name}"'
    kinds = (("initContainers", "init container"), ("containers", "container"), ("ephemeralContainers", "container"))
    for member, what in kinds:
        for container in spec.get(member, ()):
            holder = f"{what} {container.get('name', '')}"
            for source in container.get("envFrom", ()):
                if "secretRef" in source:
                    name = (source["secretRef"] or {}).get("name", "")
                    yield name, f'{holder} with envFrom referencing secret.secretName="{name}"'
            for variable in container.get("env", ()):
                reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
                if reference is not None:
                    name = reference.get("name", "")
                    where = f"{holder} with envVar {variable.get('name', '')}"
                    yield name, f'{where} referencing secret.secretName="{name}"'


def _mirror_problem(spec: Object) -> str:
    """Return what a mirror pod references that none may, "" for nothing."""
    if spec.get("serviceAccountName"):
        return "a mirror pod may not reference service accounts"
    if spec.get("imagePullSecrets") or any(True for _ in _references(spec)):
        return "a mirror pod may not reference secrets"
    sources = [s for v in spec.get("volumes", ()) for s in v.get("projected", {}).get("sources", ())]
    if any("serviceAccountToken" in source for source in sources):
        return "a mirror pod may not use ServiceAccountToken volume projections"
    return ""


def give(pod: Object, account: Account) -> None:
    """Give a pod, in place, what its account has for it, and take the token that it was given for want of knowing it.

    Args:
        pod: A pod made from a template.
        account: Its account.
    """
    spec = pod["spec"]
    if account.pull_secrets and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = list(account.pull_secrets)
    if account.mounts_token or "automountServiceAccountToken" in spec:
        return
    taken = {v["name"] for v in spec.get("volumes", ()) if v.get("name", "").startswith(TOKEN_VOLUME)}
    _without(spec, "volumes", taken)
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        _without(container, "volumeMounts", taken)


def _without(holder: Object, member: str, names: set[str]) -> None:
    left = [each for each in holder.get(member, ()) if each.get("name") not in names]
    if left:
        holder[member] = left
    else:
        holder.pop(member, None)
