"""The claims of a StatefulSet's pods: made before the pod, kept after it unless the set says otherwise."""

from typing import Any

import orjson

from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.kube.resources import CLAIMS

_Templates = list[dict[str, Any]]


def claim_name(template: dict[str, Any], name: str, ordinal: int) -> str:
    """Return the name of a pod's claim, e.g. "data-web-0"."""
    return f"{template['metadata']['name']}-{name}-{ordinal}"


class SetClaims:
    """Makes claims and says whom they go with.

    Args:
        trusted: Where it writes.
    """

    def __init__(self, trusted: Trusted) -> None:
        self._trusted = trusted

    def create(
        self, namespace: str, name: str, ordinal: int, templates: _Templates, selector: dict[str, Any]
    ) -> list[str]:
        """Make the claims of a pod that are not there.

        Args:
            namespace: Of the set.
            name: Of the set.
            ordinal: Of the pod.
            templates: volumeClaimTemplates.
            selector: Of the set: its labels are the claims' too.

        Returns:
            The names of those that were made.

        Raises:
            StatusError: One cannot be made.
        """
        made = []
        for template in templates:
            claim = claim_name(template, name, ordinal)
            if self._trusted.store.get(CLAIMS, f"{namespace}/{claim}") is not None:
                continue
            metadata = template["metadata"]
            labels = {**metadata.get("labels", {}), **selector.get("matchLabels", {})}
            own = {"name": claim, "labels": dict(sorted(labels.items()))}
            if metadata.get("annotations"):
                own["annotations"] = metadata["annotations"]
            # The front door: classes and quotas are for these claims as for anyone's.
            obj = orjson.loads(orjson.dumps({"metadata": own, "spec": template.get("spec", {})}))
            self._trusted.registry.create(CLAIMS, namespace, obj)
            made.append(claim)
        return made

    def own(self, namespace: str, name: str, ordinal: int, templates: _Templates, owner: dict[str, Any] | None) -> None:
        """Have a pod's claims be deleted with an owner, or with none of the set and its pods."""
        for template in templates:
            record = self._trusted.store.get(CLAIMS, f"{namespace}/{claim_name(template, name, ordinal)}")
            if record is None or (owner is None and not record.obj.owners):
                continue
            references = metadata_of(record.obj).get("ownerReferences", [])
            wanted = [r for r in references if r["kind"] not in {"StatefulSet", "Pod"}]
            if owner is not None:
                wanted.append(owner)
            if wanted != references:
                self._trusted.replace(CLAIMS, record, owners=wanted)
