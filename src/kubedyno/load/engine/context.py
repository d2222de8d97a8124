"""What a job shares with its run: the target, the ids, and where it tells what it waits for and what went wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.random import Random
from kubedyno.client.api import Client
from kubedyno.load.engine.mapping import Mapping, Mappings, discover
from kubedyno.load.engine.patience import PatientClient
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.engine.sender import GONE_S
from kubedyno.load.engine.stuck import StuckWatch

log = logger(__name__)

# A kind whose CustomResourceDefinition an earlier request made is served a moment later.
_KIND_TRIES = 20
_KIND_WAIT_S = 0.25
# So many error lines of a job are kept; all are counted.
_ERROR_LINES = 20


class WaitTimeoutError(KubedynoError):
    """Objects were not ready in time."""


class Kinds:
    """What the target serves, asked again when a kind is missing: an earlier job may have made it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.mappings = Mappings([])

    async def refresh(self) -> None:
        """Ask the target; raises as `discover`."""
        self.mappings = await discover(self._client)

    def known(self, api_version: str, kind: str) -> Mapping | None:
        """Return a kind without asking."""
        return self.mappings.find(api_version, kind)

    async def find(self, api_version: str, kind: str, what: str) -> Mapping:
        """Return a kind's mapping.

        Args:
            api_version: As the configuration has it.
            kind: The kind.
            what: Who needs it, for the error.

        Raises:
            KubedynoError: The target does not serve it.
        """
        for attempt in range(_KIND_TRIES):
            found = self.mappings.find(api_version, kind)
            if found is not None:
                return found
            if attempt:
                await aio.sleep(_KIND_WAIT_S)
            await self.refresh()
        raise KubedynoError(f"{what}: the cluster serves no {kind} of {api_version}")


@dataclass(slots=True)
class JobContext:
    """What a job shares with its run.

    Attributes:
        kinds: What the target serves.
        compat: 1 or 2.
        directory: Of the configuration: scripts are looked for there too.
        stuck: Makes the watch that runs beside a wait.
        waiting: Told what is waited for, "" for nothing.
        failed: Told of a fault that makes the run fail and does not end it.
        gone_after_s: How long nobody may answer before the run ends.
        sent: Told of each object that is sent ("Kind/name in namespace N", monotonic seconds).
    """

    client: Client
    clock: Clock
    random: Random
    kinds: Kinds
    uuid: str
    compat: int
    directory: Path
    stuck: Callable[[], StuckWatch]
    waiting: Callable[[str], None]
    failed: Callable[[str], None]
    gone_after_s: float = GONE_S
    sent: Callable[[str, float], None] | None = None

    @property
    def patient(self) -> PatientClient:
        """The client, for what is to outlast a server that goes away."""
        return PatientClient(self.client, self.gone_after_s)

    def label(self, key: str) -> str:
        """Return a label of the version's family: "kube-burner.io/job" or "kube-burner-job"."""
        return f"kube-burner.io/{key}" if self.compat == 2 else f"kube-burner-{key}"

    def timed_out(self, record: JobRecord, error: WaitTimeoutError) -> None:
        """Go on after a wait that timed out, as 2.x does; 1.x ends there, which raises the error again."""
        if self.compat == 1:
            raise error
        record.stalled = True
        self.failed(str(error))


def noting(record: JobRecord) -> Callable[[str], None]:
    """Return what adds error lines to a record, as far as they are kept."""

    def note(line: str) -> None:
        if len(record.errors) < _ERROR_LINES:
            record.errors.append(line)

    return note
