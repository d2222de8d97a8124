"""A real kubectl's exec, attach, logs, cp, debug and port-forward on a simulated pod, over WebSocket and over SPDY."""

import asyncio
import json
import os
import re
import shlex
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from compat.apiserver.test_kubectl import _KUBECTL, scene
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.times import rfc3339
from kubedyno.kube import yaml

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.slow,
    pytest.mark.skipif(_KUBECTL is None, reason="there is no kubectl here; the development requirements bring one"),
]
PAGE = Path(__file__).parents[3] / "docs" / "simulated-exec.md"
BOTH = pytest.mark.parametrize("websockets", ["true", "false"], ids=["websocket", "spdy"])

SCRIPT = """
commands:
- {command: "ls *", stdout: "bin\\netc\\n"}
- {command: [sh, -c, exit 3], exitCode: 3, stdout: "out\\n", stderr: "err\\n"}
- {command: rev, stdout: "told: ${STDIN}"}
- {command: stty size, stdout: "${ROWS} ${COLUMNS}\\n"}
- {command: slow, delay: 0.2, stdout: "done\\n"}
- {command: forever, delay: 1h}
- {regex: "seq [0-9]+", stdout: "%s"}
log: {rate: 20, lines: [one, two, three]}
ports:
- {port: 80, reply: "HTTP/1.0 200 OK\\r\\n\\r\\nhello from ${POD}\\n"}
- {port: 22, greeting: "SSH-2.0-none\\r\\n"}
""" % ("x" * 99 + "\\n")


def pod(name="web", containers=("c",), phase="Running", **annotations):
    """Return a pod as if a kubelet ran it: no kubelet is needed to answer for it."""
    started = rfc3339(SYSTEM_CLOCK.now())
    state = {"running": {"startedAt": started}} if phase == "Running" else {"waiting": {"reason": "ContainerCreating"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "ns", "annotations": annotations},
        "spec": {"nodeName": "n1", "containers": [{"name": each, "image": "nginx"} for each in containers]},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if phase == "Running" else "False"}],
            "containerStatuses": [
                {"name": each, "state": state, "ready": True, "restartCount": 0, "image": "nginx", "imageID": ""}
                for each in containers
            ],
        },
    }


SCRIPTED = {"kubedyno.io/exec": SCRIPT}


async def start(kubectl, websockets, *arguments, stdin=DEVNULL, words=None):
    environment = {
        "HOME": str(kubectl.folder),
        "PATH": os.environ["PATH"],
        "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets,
        "KUBECTL_PORT_FORWARD_WEBSOCKETS": websockets,
    }
    command = words or kubectl.command(*arguments)
    return await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=PIPE, stderr=PIPE, env=environment)


async def run(kubectl, websockets, *arguments, text=None, words=None):
    """Return exit code, standard output and standard error."""
    stdin = DEVNULL if text is None else PIPE
    process = await start(kubectl, websockets, *arguments, stdin=stdin, words=words)
    async with aio.timeout(60):
        out, err = await process.communicate(None if text is None else text.encode())
    return process.returncode, out.decode(), err.decode()


@BOTH
def test_exec_gives_output_errors_and_the_exit_code(tmp_path, websockets):
    async def play(kubectl):
        kubectl.replay.seed(pod(**SCRIPTED))
        assert await run(kubectl, websockets, "exec", "web", "--", "ls", "/") == (0, "bin\netc\n", "")
        code, out, err = await run(kubectl, websockets, "exec", "web", "--", "sh", "-c", "exit 3")
        assert (code, out, err) == (3, "out\n", "err\ncommand terminated with exit code 3\n")
        assert await run(kubectl, websockets, "exec", "web", "--", "slow") == (0, "done\n", "")
        assert await run(kubectl, websockets, "exec", "-i", "web", "--", "rev", text="abc") == (0, "told: abc", "")
        large = "0123456789" * 20_000
        assert await run(kubectl, websockets, "exec", "-i", "web", "--", "rev", text=large) == (0, f"told: {large}", "")

    scene(tmp_path, play)


@BOTH
def test_a_command_that_nobody_maps_is_not_runnable(tmp_path, websockets):
    async def play(kubectl):
        kubectl.replay.seed(pod())
        code, out, err = await run(kubectl, websockets, "exec", "web", "--", "uname", "-a")
        said, end = err.splitlines()
        assert (code, out, end) == (127, "", "command terminated with exit code 127")
        assert said == 'uname: not runnable on a simulated pod: no entry of kubedyno.io/exec maps "uname -a"'
        code, out, err = await run(kubectl, websockets, "cp", "web:/etc/hosts", str(kubectl.folder / "hosts"))
        assert code
        assert "tar: not runnable on a simulated pod" in out + err

    scene(tmp_path, play)


@BOTH
def test_what_cannot_be_entered_is_refused_in_the_words_of_the_real_server(tmp_path, websockets):
    async def play(kubectl):
        seed = kubectl.replay.seed
        seed(pod(**SCRIPTED))
        seed(pod("waiting", phase="Pending"))
        seed(pod("broken", **{"kubedyno.io/exec": "[{command: ls, delay: soon}]"}))
        unbound = pod("unbound", phase="Pending")
        del unbound["spec"]["nodeName"]
        seed(unbound)

        async def refused(*arguments):
            code, out, err = await run(kubectl, websockets, "exec", *arguments)
            assert (code, out) == (1, "")
            return err

        assert await refused("none", "--", "ls") == 'Error from server (NotFound): pods "none" not found\n'
        assert 'container not found ("c")' in await refused("waiting", "--", "ls")
        assert "pod unbound does not have a host assigned" in await refused("unbound", "--", "ls")
        broken = await refused("broken", "--", "ls")
        assert (
            'annotation kubedyno.io/exec of pod ns/broken: commands[0].delay: time: invalid duration "soon"' in broken
        )

    scene(tmp_path, play)


@BOTH
def test_a_terminal_has_a_size_and_one_output(tmp_path, websockets):
    script = shutil.which("script")
    if script is None:
        pytest.skip("there is no script(1) here to make a terminal")

    async def play(kubectl):
        kubectl.replay.seed(pod(**SCRIPTED))
        sized = f"stty rows 33 cols 77; {' '.join(kubectl.command('exec', '-it', 'web', '--', 'stty', 'size'))}"
        code, out, _ = await run(kubectl, websockets, words=[script, "-qec", sized, "/dev/null"])
        # A busy machine lets kubectl find the end before its own input's, which it then logs to the terminal too.
        assert (code, re.sub(r'E\d{4} .*"Copying stdin failed".*\n', "", out)) == (0, "33 77\r\n")
        both = " ".join(kubectl.command("exec", "-it", "web", "--", "sh", "-c", "'exit 3'"))
        code, out, _ = await run(kubectl, websockets, words=[script, "-qec", both, "/dev/null"])
        assert (code, out.startswith("out\r\nerr\r\n")) == (3, True)

    scene(tmp_path, play)


async def lines_of(stream, count):
    async with aio.timeout(60):
        return [(await stream.readline()).decode() for _ in range(count)]


@BOTH
def test_attach_shows_what_is_logged_from_then_on(tmp_path, websockets):
    async def play(kubectl):
        kubectl.replay.seed(pod(**SCRIPTED))
        process = await start(kubectl, websockets, "attach", "web")
        try:
            said = "".join(await lines_of(process.stdout, 4))
        finally:
            process.terminate()
            await process.communicate()
        assert said in "one\ntwo\nthree\n" * 3

    scene(tmp_path, play)


def test_logs_grow_at_their_rate_and_end_with_the_container(tmp_path):
    async def play(kubectl):
        kubectl.replay.seed(pod(**SCRIPTED))
        process = await start(kubectl, "true", "logs", "-f", "web")
        # Five more than there were.
        assert await lines_of(process.stdout, 5) == ["one\n", "two\n", "three\n", "one\n", "two\n"]
        ended = {"terminated": {"exitCode": 0, "startedAt": rfc3339(0), "finishedAt": rfc3339(SYSTEM_CLOCK.now())}}
        status = {"containerStatuses": [{**pod()["status"]["containerStatuses"][0], "state": ended}]}
        patch = json.dumps({"status": status})
        await kubectl("patch", "pod", "web", "--subresource=status", "--type=merge", "-p", patch)
        async with aio.timeout(60):
            await process.communicate()
        assert process.returncode == 0

    scene(tmp_path, play)


def test_a_client_that_goes_ends_its_command(tmp_path):
    async def play(kubectl):
        kubectl.replay.seed(pod(**SCRIPTED))
        before = len(asyncio.all_tasks())
        process = await start(kubectl, "true", "exec", "web", "--", "forever")
        async with aio.timeout(60):
            while len(asyncio.all_tasks()) == before:
                await aio.sleep(0.01)
            process.kill()
            await process.communicate()
            while len(asyncio.all_tasks()) > before:
                await aio.sleep(0.01)

    scene(tmp_path, play)


@asynccontextmanager
async def forwarding(kubectl, websockets, *ports):
    """Yield the local ports that kubectl forwards to, and the process."""
    process = await start(kubectl, websockets, "port-forward", "pod/web", *ports, "--address", "127.0.0.1")
    try:
        told = await lines_of(process.stdout, len(ports))
        assert all(line.startswith("Forwarding from 127.0.0.1:") for line in told), told
        yield [int(line.split(":")[1].split()[0]) for line in told], process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def asked(port, text):
    """Send a text to a local port; return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    async with aio.timeout(60):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@BOTH
def test_a_forwarded_port_says_what_the_script_says(tmp_path, websockets):
    async def play(kubectl):
        kubectl.replay.seed(pod(**SCRIPTED))
        async with forwarding(kubectl, websockets, ":80", ":22") as ((web, ssh), _):
            reply = b"HTTP/1.0 200 OK\r\n\r\nhello from web\n"
            assert await asyncio.gather(*(asked(web, b"GET / HTTP/1.0\r\n\r\n") for _ in range(20))) == [reply] * 20
            assert await asked(ssh, b"") == b"SSH-2.0-none\r\n"
            curl = shutil.which("curl")
            if curl is not None:
                code, out, _ = await run(kubectl, websockets, words=[curl, "-sS", f"http://127.0.0.1:{web}/"])
                assert (code, out) == (0, "hello from web\n")

    scene(tmp_path, play)


@BOTH
def test_a_port_on_which_nothing_listens_is_told_and_never_dialled(tmp_path, websockets):
    async def play(kubectl):
        # Something does listen at the pod's address: nobody may call there.
        called = []
        server = await asyncio.start_server(lambda reader, writer: called.append(1), "127.0.0.1", 0)
        number = server.sockets[0].getsockname()[1]
        target = pod(**SCRIPTED)
        target["status"] |= {"podIP": "127.0.0.1", "hostIP": "127.0.0.1"}
        kubectl.replay.seed(target)
        async with server, forwarding(kubectl, websockets, f":{number}") as ((local,), process):
            assert await asked(local, b"GET / HTTP/1.0\r\n\r\n") == b""
            async with aio.timeout(60):
                told = (await process.stderr.readline()).decode()
            assert f"nothing listens on port {number} of a simulated pod" in told
        assert called == []

    scene(tmp_path, play)


def test_scripts_of_configmaps_are_found_by_name_and_by_label(tmp_path):
    async def play(kubectl):
        def configmap(name, text, **labels):
            metadata = {"name": name, "namespace": "ns", "labels": labels}
            kubectl.replay.seed({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"s": text}})

        configmap("named", "[{command: who, stdout: named}]")
        configmap("every", "[{command: who, stdout: every}]", **{"kubedyno.io/exec": "true"})
        kubectl.replay.seed(pod("a", **{"kubedyno.io/exec": "named"}))
        kubectl.replay.seed(pod("b"))
        kubectl.replay.seed(pod("c", **{"kubedyno.io/exec": "missing"}))
        assert await kubectl("exec", "a", "--", "who") == "named"
        assert await kubectl("exec", "b", "--", "who") == "every"
        assert "there is no ConfigMap missing" in await kubectl.fails("exec", "c", "--", "who")

    scene(tmp_path, play)


def test_debug_adds_an_ephemeral_container_that_stays(tmp_path):
    async def play(kubectl):
        kubectl.replay.seed(pod())
        code, out, _ = await run(kubectl, "true", "debug", "web", "--image=busybox", "--target=c", "-c", "dbg")
        assert (code, "Targeting container" in out) == (0, True)
        kept = json.loads(await kubectl("get", "pod", "web", "-o", "json"))
        assert [c["name"] for c in kept["spec"]["ephemeralContainers"]] == ["dbg"]
        assert kept["metadata"]["generation"] == 2
        gone = '{"spec":{"ephemeralContainers":[]}}'
        path = ("patch", "pod", "web", "--subresource=ephemeralcontainers", "--type=merge", "-p")
        assert 'existing ephemeral containers "dbg" may not be removed' in await kubectl.fails(*path, gone)
        lost = '{"spec":{"ephemeralContainers":[{"name":"x","image":"i","targetContainerName":"y","ports":[{"containerPort":1}]}]}}'
        told = await kubectl.fails(*path, lost)
        assert 'spec.ephemeralContainers[0].targetContainerName: Not found: "y"' in told
        assert "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container" in told

    scene(tmp_path, play)


def test_the_example_of_the_page_says_what_happens(tmp_path):
    text = PAGE.read_text()
    manifest = yaml.load(text.partition("```yaml\n")[2].partition("```")[0])
    session = text.partition("```console\n")[2].partition("```")[0].split("$ kubectl ")[1:]
    assert len(session) == 4

    async def play(kubectl):
        kubectl.replay.seed(pod("web", ("app",), **manifest["metadata"]["annotations"]))
        for step in session:
            line, _, wanted = step.partition("\n")
            _, out, err = await run(kubectl, "true", *shlex.split(line))
            assert out + err == wanted
        async with forwarding(kubectl, "true", ":80") as ((port,), _):
            assert (await asked(port, b"GET / HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\nhello\n")

    scene(tmp_path, play)
