"""How a connectivity test ended, as text and as JUnit. Pure."""

from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

_SUITE = "connectivity test"


@dataclass(slots=True)
class Outcome:
    """Of one test.

    Attributes:
        name: Of the test.
        actions: How many were run.
        seconds: How long it took.
        failures: (action, reason) of those that failed.
        skipped: Why it was not run, "" when it was.
        left_out: How many of its scenarios cannot be run here.
    """

    name: str
    actions: int = 0
    seconds: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)
    skipped: str = ""
    left_out: int = 0

    @property
    def status(self) -> str:
        """JUnit's word."""
        return "skipped" if self.skipped else "failed" if self.failures else "passed"


def summary_of(namespace: str, outcomes: list[Outcome]) -> list[str]:
    """Return the closing lines."""
    run = [one for one in outcomes if not one.skipped]
    failed = [one for one in run if one.failures]
    actions, wrong = sum(one.actions for one in run), sum(len(one.failures) for one in failed)
    skipped, left_out = len(outcomes) - len(run), sum(one.left_out for one in run)
    if not failed:
        return [
            (
                f"✅ [{namespace}] All {len(run)} tests ({actions} actions) successful, {skipped} tests skipped, "
                f"{left_out} scenarios skipped."
            )
        ]
    lines = [
        f"📋 Test Summary [{namespace}]",
        (
            f"❌ {len(failed)}/{len(run)} tests failed ({wrong}/{actions} actions), {skipped} tests skipped, "
            f"{left_out} scenarios skipped:"
        ),
    ]
    for one in failed:
        lines.append(f"Test [{one.name}]:")
        lines += [f"  🟥 {action}: {reason}" for action, reason in one.failures]
    return [*lines, f"[{namespace}] {len(failed)} tests failed"]


def junit_of(outcomes: list[Outcome], properties: dict[str, str], timestamp: str) -> str:
    """Return the JUnit document; `timestamp` is like 2026-11-24T15:04:05."""
    failures = sum(1 for one in outcomes if one.failures)
    skipped = sum(1 for one in outcomes if one.skipped)
    seconds = sum(one.seconds for one in outcomes)
    counts = f'tests="{len(outcomes)}" failures="{failures}"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites {counts} disabled="{skipped}" time="{seconds:.3f}">',
        (
            f'  <testsuite name="{_SUITE}" package="cilium" {counts} skipped="{skipped}" time="{seconds:.3f}" '
            f'timestamp="{timestamp}">'
        ),
        "    <properties>",
        *(f"      <property name={quoteattr(name)} value={quoteattr(value)}/>" for name, value in properties.items()),
        "    </properties>",
    ]
    for one in outcomes:
        head = f'    <testcase name={quoteattr(one.name)} classname="{_SUITE}" status="{one.status}" time="{one.seconds:.3f}"'
        if one.skipped:
            body = f"<skipped message={quoteattr(f'{one.name} skipped')}/>"
        elif one.failures:
            text = escape("\n".join(f"{action}: {reason}" for action, reason in one.failures))
            body = f'<failure message={quoteattr(f"{one.name} failed")} type="failure">{text}</failure>'
        else:
            lines.append(f"{head}/>")
            continue
        lines.append(f"{head}>{body}</testcase>")
    return "\n".join([*lines, "  </testsuite>", "</testsuites>", ""])
