"""What webhooks and validating policies have said: the apiserver_admission_webhook_* and *_admission_policy_* series.

A webhook's call is counted when it ends; a policy that is broken, once for each thing that its binding does about it.
"""

from collections import Counter

from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.registry.admissiontimes import AdmissionTimes
from kubedyno.stats.histogram import Histogram

# Those of the real server.
_WEBHOOK_BOUNDS_S = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 25)
_STEPS = (
    "[STABLE] Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step "
    "type (validate or admit)."
)
_WEBHOOKS = (
    "[STABLE] Admission webhook latency histogram in seconds, identified by name and broken out for each operation and API "
    "resource and type (validate or admit)."
)
_CALLS = (
    "[ALPHA] Admission webhook request total, identified by name and broken out for each admission type (validating or "
    "admit) and operation. Additional labels specify whether the request was rejected or not and an HTTP status code. "
    "Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded."
)
_REJECTIONS = (
    "[ALPHA] Admission webhook rejection count, identified by name and broken out for each admission type (validating or "
    "admit) and operation. Additional labels specify an error type (calling_webhook_error or apiserver_internal_error if an "
    "error occurred; no_error otherwise) and optionally a non-zero rejection code if the webhook rejects the request with an "
    "HTTP status code (honored by the apiserver when the code is greater or equal to 400). Codes greater than 600 are "
    "truncated to 600, to keep the metrics cardinality bounded."
)
_OPENED = (
    "[ALPHA] Admission webhook fail open count, identified by name and broken out for each admission type (validating or "
    "admit)."
)
_POLICIES = (
    "[BETA] Validation admission policy check total, labeled by policy and further identified by binding and enforcement "
    "action taken."
)
_MOST_CODE = 600


class AdmissionCounts:
    """Counts by webhook and by policy."""

    def __init__(self) -> None:
        self._took: dict[tuple[str, str, str, bool], Histogram] = {}
        self._calls: Counter[tuple[str, str, str, bool, int]] = Counter()
        self._rejections: Counter[tuple[str, str, str, str, int]] = Counter()
        self._opened: Counter[tuple[str, str]] = Counter()
        self._broken: Counter[tuple[str, str, str]] = Counter()

    def called(
        self, name: str, operation: str, took_s: float, code: int, *, mutating: bool, failed: bool, rejected: bool
    ) -> None:
        """Count a call of a webhook.

        Args:
            name: The webhook's.
            operation: CREATE, UPDATE …
            took_s: From the call to its answer.
            code: 200 of what may pass, else the answer's; 503 without any.
            mutating: It may change the object.
            failed: It gave no answer.
            rejected: The write may not pass for it.
        """
        sort = "admit" if mutating else "validating"
        code = min(code, _MOST_CODE)
        took = self._took.setdefault((name, operation, sort, rejected), Histogram(_WEBHOOK_BOUNDS_S))
        took.add(took_s)
        self._calls[name, operation, sort, rejected, code] += 1
        if failed or rejected:
            why = "calling_webhook_error" if failed else "no_error"
            self._rejections[name, operation, sort, why, code] += 1
        if failed and not rejected:
            self._opened[name, sort] += 1

    def broken(self, policy: str, binding: str, actions: tuple[str, ...]) -> None:
        """Count a validation of a policy that did not hold, and what its binding does then."""
        for action in actions:
            self._broken[policy, binding, action.lower()] += 1

    def write(self, page: Page, times: AdmissionTimes) -> None:
        """Add the series to a page."""
        for operation, sort, step in times.steps():
            for refused, took in ((False, step.passed), (True, step.refused)):
                if any(took.counts):
                    labels = {"operation": operation, "rejected": _truth(refused), "type": sort}
                    page.spread("apiserver_admission_step_admission_duration_seconds", _STEPS, labels, took)
        prefix = "apiserver_admission_webhook_"
        for (name, operation, sort, rejected), took in self._took.items():
            labels = {"name": name, "operation": operation, "rejected": _truth(rejected), "type": sort}
            page.spread(f"{prefix}admission_duration_seconds", _WEBHOOKS, labels, took)
        for (name, operation, sort, rejected, code), count in self._calls.items():
            labels = {
                "code": str(code),
                "name": name,
                "operation": operation,
                "rejected": _truth(rejected),
                "type": sort,
            }
            page.add(f"{prefix}request_total", "counter", _CALLS, labels, count)
        for (name, operation, sort, why, code), count in self._rejections.items():
            labels = {
                "error_type": why,
                "name": name,
                "operation": operation,
                "rejection_code": str(code),
                "type": sort,
            }
            page.add(f"{prefix}rejection_count", "counter", _REJECTIONS, labels, count)
        for (name, sort), count in self._opened.items():
            page.add(f"{prefix}fail_open_count", "counter", _OPENED, {"name": name, "type": sort}, count)
        for (policy, binding, action), count in self._broken.items():
            labels = {
                "enforcement_action": action, "error_type": "invalid_error", "policy": policy, "policy_binding": binding,
            }  # fmt: skip
            page.add("apiserver_validating_admission_policy_check_total", "counter", _POLICIES, labels, count)


def _truth(value: bool) -> str:
    return "true" if value else "false"
