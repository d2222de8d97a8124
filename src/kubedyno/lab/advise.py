"""`advise` on a live cluster: its state read once, and a finding applied after a confirmation, the undo printed first."""

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass

import orjson

from kubedyno.advisor import advice, clusterstate
from kubedyno.advisor.clusterstate import ClusterState
from kubedyno.advisor.tuning import Advice, Setup
from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.lab import target
from kubedyno.lab.target import Choice

# helm waits for nothing unless it is told to; more than this is a hanging API server.
HELM_TIMEOUT_S = 300.0
KUBECTL_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Change:
    """What applying findings will do: patches of API objects and helm commands; `undo` takes it back."""

    findings: tuple[Advice, ...]
    commands: tuple[str, ...]
    undo: tuple[str, ...]


async def read(choice: Choice) -> ClusterState:
    """Read a cluster.

    Raises:
        KubedynoError: It cannot be reached, or refuses.
    """
    async with Client(choice.target) as client:
        await target.greet(client)
        return await clusterstate.read(client)


def kubectl_version() -> str:
    """Return the version of the kubectl in PATH, "" without one or when it does not say."""
    program = shutil.which("kubectl")
    if program is None:
        return ""
    try:
        ended = subprocess.run(  # noqa: S603 - the user's own kubectl
            [program, "version", "--client", "-o", "json"],
            capture_output=True,
            timeout=KUBECTL_TIMEOUT_S,
            check=False,
        )
        return str(orjson.loads(ended.stdout)["clientVersion"]["gitVersion"])
    except (OSError, subprocess.TimeoutExpired, orjson.JSONDecodeError, KeyError, TypeError):
        return ""


def plan(found: list[Advice], rules: list[str], setup: Setup | None) -> Change:
    """Return what applying rules' findings would do.

    Raises:
        KubedynoError: A rule found nothing, is not ready, or has nothing that this program could do by itself.
    """
    by_rule = {one.rule: one for one in found}
    chosen = []
    for rule in rules:
        one = by_rule.get(rule)
        if one is None:
            raise KubedynoError(f"--apply {rule}: no such finding; found: {', '.join(sorted(by_rule)) or 'none'}")
        if not one.values and not one.patches:
            raise KubedynoError(f"--apply {rule}: is work for a person: {'; '.join(one.apply) or 'see its text'}")
        if not one.ready:
            raise KubedynoError(f"--apply {rule}: requires {'; '.join(one.requires) or 'a decision'} first")
        chosen.append(one)
    commands, undo = [], []
    for one in chosen:
        helm = advice.helm_command(one, setup.values.version) if setup is not None else ""
        back = advice.undo_command(one, setup) if setup is not None else ""
        commands += [*([helm] if helm else ()), *(patch.command() for patch in one.patches)]
        undo += [*([back] if back else ()), *(patch.command(undo=True) for patch in one.patches)]
    if any(one.values for one in chosen) and shutil.which("helm") is None:
        raise KubedynoError("--apply: Helm values are set by helm, which is not in PATH")
    return Change(tuple(chosen), tuple(commands), tuple(undo))


def confirm(change: Change, where: str, *, yes: bool) -> None:
    """Print what will be done and how it is undone, and ask.

    Raises:
        KubedynoError: Not confirmed, or nobody is there to confirm.
    """
    lines = [f"to be changed on {where}:", *(f"  {line}" for line in change.commands)]
    lines += [f"  when applied: {one.applying} [{one.rule}]" for one in change.findings if one.applying]
    lines += ["to undo it:", *(f"  {line}" for line in change.undo)]
    print("\n".join(lines), file=sys.stderr)  # noqa: T201 - the question itself
    if yes:
        return
    if not sys.stdin.isatty():
        raise KubedynoError("--apply: confirm with --yes; nothing was changed")
    try:
        answer = input("apply? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in {"y", "yes"}:
        raise KubedynoError("not confirmed; nothing was changed")


def apply(choice: Choice, change: Change, *, kubeconfig: str | None, context: str | None) -> list[str]:
    """Apply a confirmed change and return what was done, a line each.

    Raises:
        KubedynoError: A step failed; the line says what was done before it.
    """
    done: list[str] = []
    for one in change.findings:
        if one.patches:
            aio.run(_patch(choice, one, done))
    for line in change.commands:
        if line.startswith("helm "):
            words = shlex.split(line)
            words += ["--kubeconfig", kubeconfig] if kubeconfig else []
            words += ["--kube-context", context] if context else []
            try:
                ended = subprocess.run(  # noqa: S603 - the command that was shown and confirmed
                    words, capture_output=True, text=True, timeout=HELM_TIMEOUT_S, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise _failed(line, f"no end within {HELM_TIMEOUT_S:g} s", done) from error
            if ended.returncode:
                said = (ended.stderr.strip() or "no word").splitlines()[-1]
                raise _failed(line, said, done)
            done.append(f"done: {line}")
    return done


async def _patch(choice: Choice, one: Advice, done: list[str]) -> None:
    async with Client(choice.target) as client:
        for patch in one.patches:
            # The object must still be what the finding was made of: a test before each replacement.
            tests = [{**step, "op": "test"} for step in patch.undo]
            try:
                await client.patch(patch.path, [*tests, *patch.change], "application/json-patch+json")
            except StatusError as error:
                raise _failed(patch.command(), error.message, done) from error
            done.append(f"done: {patch.target} in {patch.namespace or 'the cluster'}: {_steps(patch.change)}")


def _steps(change: tuple[dict[str, object], ...]) -> str:
    return ", ".join(f"{step['path']}={orjson.dumps(step.get('value')).decode()}" for step in change)


def _failed(command: str, said: str, done: list[str]) -> KubedynoError:
    before = f"; before it, {len(done)} changes were made" if done else "; nothing was changed"
    return KubedynoError(f"{command}: {said}{before}")
