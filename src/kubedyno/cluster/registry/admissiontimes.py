"""How long admission takes of clients' creations and updates: apiserver_admission_step_admission_duration_seconds.

A step is all of it that changes an object ("admit"), or all of it that checks one ("validate"): plug-ins, policies and
what webhooks have answered. What is begun anew because webhooks have yet to answer is counted when it goes through.
"""

from kubedyno.base.clock import elapsed_ns
from kubedyno.kube.status import StatusError
from kubedyno.stats.histogram import Histogram

# Those of the real server.
BOUNDS_S = (0.005, 0.025, 0.1, 0.5, 1, 2.5)
CREATE, UPDATE = "CREATE", "UPDATE"
ADMIT, VALIDATE = "admit", "validate"


class Step:
    """One sort of step, for a `with` statement around it: an error of the API's in it is a refusal.

    Steps are not entered again before they end, so that one object is enough for all of a sort.
    """

    __slots__ = ("_began_ns", "passed", "refused")

    def __init__(self) -> None:
        self.passed = Histogram(BOUNDS_S)
        self.refused = Histogram(BOUNDS_S)
        self._began_ns = 0

    def __enter__(self) -> None:
        self._began_ns = elapsed_ns()

    def __exit__(self, sort: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if sort is None:
            self.passed.add((elapsed_ns() - self._began_ns) / 1e9)
        elif issubclass(sort, StatusError):
            self.refused.add((elapsed_ns() - self._began_ns) / 1e9)


class AdmissionTimes:
    """All steps."""

    def __init__(self) -> None:
        self.create_admit, self.create_validate = Step(), Step()
        self.update_admit, self.update_validate = Step(), Step()

    def steps(self) -> tuple[tuple[str, str, Step], ...]:
        """Return (operation, type, step) of each."""
        return (
            (CREATE, ADMIT, self.create_admit),
            (CREATE, VALIDATE, self.create_validate),
            (UPDATE, ADMIT, self.update_admit),
            (UPDATE, VALIDATE, self.update_validate),
        )
