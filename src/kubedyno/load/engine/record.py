"""What one job did: counts, errors by reason, and figures over time. Everything printed is read from here."""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class JobRecord:
    """Counters of one job; times are monotonic seconds unless they say otherwise.

    Attributes:
        asked: Requests that the job is to send (creates, or deletes once listed).
        sent: First tries sent.
        accepted: Answered with success.
        retried: Later tries sent.
        throttled: Answers 429, each of which was tried again or given up.
        failed: Given up, by reason; never silently dropped.
        accept_ms: Time from the last try of each request to its acceptance.
        corrected_ms: The same from when an open loop would have sent it: what waited behind a slow API counts, too
            (no coordinated omission), and so do retries.
        seen_ms: Kind → time from an object's sending to its first sight by a watch.
        late_ms: How much later than its schedule each request left.
        per_second: Second since start → [sent, accepted, failed, asked]; asked by the schedule alone.
        errors: The run's error lines of this job.
        churn_started_at: Epoch seconds; 0 when there was no churn.
        churn_ended_at: Likewise.
        stalled: A wait of it timed out, or objects are missing: an incremental load goes no further.
    """

    name: str
    kind: str
    qps: float
    burst: int
    asked: int = 0
    sent: int = 0
    accepted: int = 0
    retried: int = 0
    throttled: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    accept_ms: "array[float]" = field(default_factory=lambda: array("f"))
    corrected_ms: "array[float]" = field(default_factory=lambda: array("f"))
    late_ms: "array[float]" = field(default_factory=lambda: array("f"))
    seen_ms: dict[str, "array[float]"] = field(default_factory=dict)
    per_second: dict[int, list[int]] = field(default_factory=dict)
    phases: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    started_s: float = 0.0
    sending_s: float = 0.0
    sent_last_s: float = 0.0
    intended_first_s: float = 0.0
    intended_last_s: float = 0.0
    ended_s: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    churn_started_at: float = 0.0
    churn_ended_at: float = 0.0
    stalled: bool = False

    def _second(self, now_s: float) -> list[int]:
        key = int(now_s - self.started_s)
        counts = self.per_second.get(key)
        if counts is None:
            counts = self.per_second[key] = [0, 0, 0, 0]
        return counts

    def on_sent(self, now_s: float, due_s: float, intended_s: float) -> None:
        """Count a first try that left at `now_s`, was due at `due_s`, and in an open loop would have left at `intended_s`."""
        if not self.sent:
            self.sending_s = now_s
            self.intended_first_s = intended_s
        self.intended_last_s = intended_s
        self.sent += 1
        self.sent_last_s = now_s
        self.late_ms.append((now_s - due_s) * 1000)
        self._second(now_s)[0] += 1
        self._second(intended_s)[3] += 1

    def on_seen(self, kind: str, now_s: float, sent_s: float) -> None:
        """Count the first sight of an object that was sent."""
        found = self.seen_ms.get(kind)
        if found is None:
            found = self.seen_ms[kind] = array("f")
        found.append((now_s - sent_s) * 1000)

    def on_accepted(self, now_s: float, sent_s: float, intended_s: float) -> None:
        """Count a success."""
        self.accepted += 1
        self.accept_ms.append((now_s - sent_s) * 1000)
        self.corrected_ms.append((now_s - intended_s) * 1000)
        self._second(now_s)[1] += 1

    def on_failed(self, now_s: float, reason: str) -> None:
        """Count a request that was given up."""
        self.failed[reason] += 1
        self._second(now_s)[2] += 1

    def churned(self, at_s: float) -> bool:
        """Say whether a moment (epoch seconds) lies in the job's churn."""
        return bool(self.churn_started_at) and self.churn_started_at <= at_s <= (self.churn_ended_at or at_s)

    @property
    def reached_qps(self) -> float:
        """Requests a second between the first and the last that left; 0 with fewer than two."""
        span_s = self.sent_last_s - self.sending_s
        return (self.sent - 1) / span_s if self.sent > 1 and span_s > 0 else 0.0

    @property
    def scheduled_qps(self) -> float:
        """Requests a second as the schedule asked for them, between its first and its last; `qps` with fewer than two."""
        span_s = self.intended_last_s - self.intended_first_s
        return (self.sent - 1) / span_s if self.sent > 1 and span_s > 0 else self.qps

    def timeline(self) -> list[dict[str, Any]]:
        """Return one document a second: requests asked, sent, accepted and failed, and pods by phase at its end."""
        last = max([0, *self.per_second, *(int(at_s) for at_s, _ in self.phases)])
        pods: dict[str, int] = {}
        pending = iter(self.phases)
        following = next(pending, None)
        documents = []
        for second in range(last + 1):
            while following is not None and following[0] < second + 1:
                pods = following[1]
                following = next(pending, None)
            sent, accepted, failed, asked = self.per_second.get(second, (0, 0, 0, 0))
            documents.append(
                {
                    "second": second,
                    "asked": asked,
                    "sent": sent,
                    "accepted": accepted,
                    "failed": failed,
                    "pods": dict(pods),
                }
            )
        return documents
