"""Python's Kubernetes client: exec and port-forward by channels of a WebSocket."""

import asyncio

import pytest

from compat.apiserver.test_kubectl import scene
from compat.apiserver.test_streams import SCRIPTED, pod

kubernetes = pytest.importorskip("kubernetes", reason="Python's Kubernetes client is not installed here")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def core(kubectl):
    from kubernetes import client, config

    return client.CoreV1Api(config.new_client_from_config(str(kubectl.folder / "config")))


def play_in_thread(tmp_path, play):
    """Run a scene whose client blocks."""

    async def run(kubectl):
        kubectl.replay.seed(pod(**SCRIPTED))
        await asyncio.wait_for(asyncio.to_thread(play, kubectl), 60)

    scene(tmp_path, run)


def test_exec_gives_output_errors_and_the_exit_code(tmp_path):
    from kubernetes.stream import stream

    def play(kubectl):
        connect = core(kubectl).connect_get_namespaced_pod_exec
        wanted = {"stderr": True, "stdin": False, "stdout": True, "tty": False}
        assert stream(connect, "web", "ns", command=["ls", "/"], **wanted) == "bin\netc\n"
        session = stream(core(kubectl).connect_get_namespaced_pod_exec, "web", "ns", command=["sh", "-c", "exit 3"],
                         _preload_content=False, **wanted)  # fmt: skip
        session.run_forever(timeout=10)
        assert (session.returncode, session.read_stdout(), session.read_stderr()) == (3, "out\n", "err\n")

    play_in_thread(tmp_path, play)


def test_ports_are_forwarded_as_sockets(tmp_path):
    from kubernetes.stream import portforward

    def play(kubectl):
        connect = core(kubectl).connect_get_namespaced_pod_portforward
        forwarded = portforward(connect, "web", "ns", ports="80,81")
        socket = forwarded.socket(80)
        socket.settimeout(10)
        socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data = b""
        while piece := socket.recv(1000):
            data += piece
        assert data.endswith(b"hello from web\n")
        assert forwarded.error(80) is None
        assert "nothing listens on port 81 of a simulated pod" in forwarded.error(81)

    play_in_thread(tmp_path, play)
