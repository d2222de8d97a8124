"""Pods that are processes, by a real kubectl: traffic, services, names, streams, the fence, and what is left of them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from kubedyno.kernel.cgroups import Groups, sweep
from kubedyno.kernel.netns import Namespace
from kubedyno.lab import embedded
from kubedyno.lab.settings import cluster_settings
from ports import free_port

KUBECTL = shutil.which("kubectl", path=f"{Path(os.sys.executable).parent}:{os.environ.get('PATH', '')}")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(KUBECTL is None, reason="needs kubectl")]
needs_iperf3 = pytest.mark.skipif(shutil.which("iperf3") is None, reason="needs iperf3")


class Cluster:
    def __init__(self, running, folder):
        self.running = running
        self.folder = folder

    def command(self, *words):
        return [KUBECTL, f"--cache-dir={self.folder}", *words], {
            **os.environ,
            "KUBECONFIG": str(self.running.kubeconfig),
        }

    def kubectl(self, *words, stdin="", code=0):
        command, environment = self.command(*words)
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=90, check=False, env=environment
        )
        assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def pod(self, name, *command, image="busybox", wait="Ready", **spec):
        container = {"name": "c", "image": image, **({"command": list(command)} if command else {})}
        container |= spec.pop("container", {})
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}}
        body["spec"] = {"terminationGracePeriodSeconds": 1, "containers": [container], **spec}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(body))
        if wait:
            self.kubectl("wait", f"--for=condition={wait}", f"pod/{name}", "--timeout=60s")

    def service(self, name, selector, port, target, **spec):
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}}
        body["spec"] = {"selector": {"app": selector}, "ports": [{"port": port, "targetPort": target}], **spec}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(body))

    def sh(self, pod, script, code=0):
        return self.kubectl("exec", pod, "--", "sh", "-c", script, code=code)


@pytest.fixture(scope="module", params=["route", "bridge", "ebpf"])
def cluster(request, tmp_path_factory):
    before = os.environ.get("KUBEDYNO_HOME")
    os.environ["KUBEDYNO_HOME"] = str(tmp_path_factory.mktemp("home"))
    settings, _ = cluster_settings(
        name="real", nodes=3, speed=0.0, idle_timeout="5m", runtime="netns", datapath=request.param
    )
    yield Cluster(embedded.up(settings), tmp_path_factory.mktemp("cache"))
    embedded.down("real")
    if before is None:
        del os.environ["KUBEDYNO_HOME"]
    else:
        os.environ["KUBEDYNO_HOME"] = before


def node(name):
    return {"nodeSelector": {"kubernetes.io/hostname": name}}


SERVE = "import socket,sys\ns=socket.create_server(('',8080))\nwhile 1:\n c,a=s.accept();c.sendall((sys.argv[1]+' '+a[0]).encode());c.close()"
# Asks again while nobody listens: a server's interpreter takes its time to start, and so do a new service's rules.
ASK = """
import socket, sys, time
end = time.monotonic() + (float(sys.argv[3]) if len(sys.argv) > 3 else 60)
while True:
    try:
        print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).recv(99).decode())
        break
    except ConnectionRefusedError:
        if time.monotonic() > end:
            raise
        time.sleep(0.05)
"""
# Of who is to be refused: for good, not because it is early.
SOON = "1"


def until(ask, limit_s=60.0):
    """Return what is asked for once it is true."""
    end = time.monotonic() + limit_s
    while not (value := ask()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return value


@pytest.mark.parametrize("where", ["real-worker", "real-worker2"])
def test_a_pod_reaches_pods_and_services_on_its_node_and_on_another(cluster, where):
    name = f"server-{where[-1]}"
    cluster.pod("client", "sleep", "inf", **node("real-worker"))
    cluster.pod(name, "python3", "-c", SERVE, name, image="python", **node(where))
    cluster.service(name, name, 80, 8080)
    cluster.service(f"{name}-headless", name, 8080, 8080, clusterIP="None")
    address = cluster.kubectl("get", "pod", name, "-o", "jsonpath={.status.podIP}")
    own = cluster.kubectl("get", "pod", "client", "-o", "jsonpath={.status.podIP}")
    ask = ["exec", "client", "--", "python3", "-c", ASK]
    assert cluster.kubectl(*ask, address, "8080").split() == [name, own]
    for target, port in ((name, "80"), (f"{name}.default.svc.cluster.local", "80"), (f"{name}-headless", "8080")):
        assert cluster.kubectl(*ask, target, port).startswith(name)
    assert "Name or service not known" in cluster.kubectl(*ask, "nothing.default.svc.cluster.local", "1", code=1)


SRV = """
import socket, struct, sys
labels = b"".join(bytes([len(part)]) + part.encode() for part in sys.argv[1].split(".")) + b"\\0"
ask = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ask.settimeout(30)
ask.sendto(struct.pack(">6H", 1, 256, 1, 0, 0, 0) + labels + struct.pack(">HH", int(sys.argv[2]), 1), ("10.96.0.10", 53))
answer = ask.recv(512)
print(answer[3] & 15, struct.unpack_from(">H", answer, 6)[0], answer[12 + len(labels) + 4 :])
"""


def test_named_ports_and_addresses_have_records(cluster):
    cluster.pod("records", "sleep", "inf", image="python")
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    cluster.service("records", "records", 80, 8080, ports=ports, clusterIP="None")
    own = cluster.kubectl("get", "pod", "records", "-o", "jsonpath={.status.podIP}")
    dashed = own.replace(".", "-")
    ask = ["exec", "records", "--", "python3", "-c", SRV]
    said = cluster.kubectl(*ask, "_http._tcp.records.default.svc.cluster.local", "33")
    assert said.startswith("0 1 ")
    assert dashed in said
    assert cluster.kubectl(*ask, f"{dashed}.records.default.svc.cluster.local", "1").startswith("0 1 ")
    said = cluster.kubectl(*ask, ".".join(reversed(own.split("."))) + ".in-addr.arpa", "12")
    assert "records" in said
    assert dashed in said


def test_a_pod_reaches_itself_through_its_service(cluster):
    cluster.pod("hairpin", "python3", "-c", SERVE, "mine", image="python")
    cluster.service("myself", "hairpin", 80, 8080)
    assert cluster.kubectl("exec", "hairpin", "--", "python3", "-c", ASK, "myself", "80").startswith("mine")


def test_a_pod_on_the_node_network_reaches_pods_and_services(cluster):
    cluster.pod("hosted", "sleep", "inf", hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet", **node("real-worker"))
    cluster.pod("answers", "python3", "-c", SERVE, "here", image="python", **node("real-worker2"))
    cluster.service("answers", "answers", 80, 8080)
    assert cluster.kubectl("exec", "hosted", "--", "python3", "-c", ASK, "answers", "80").startswith("here")
    host = cluster.kubectl("get", "pod", "hosted", "-o", "jsonpath={.status.hostIP} {.status.podIP}").split()
    assert host[0] == host[1]


@needs_iperf3
@pytest.mark.parametrize("where", [0, 1])
def test_bandwidth_annotations_hold(cluster, where):
    for name, host, limit in (
        ("bw-free", "real-worker", {}),
        ("bw-sends", "real-worker", {"kubernetes.io/egress-bandwidth": "40M"}),
        ("bw-gets", ["real-worker", "real-worker2"][where], {"kubernetes.io/ingress-bandwidth": "40M"}),
    ):
        body = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{name}{where}", "annotations": limit},
            "spec": {
                "terminationGracePeriodSeconds": 0, **node(host),
                "containers": [{"name": "c", "image": "iperf3", "args": ["-s"]}],
            },
        }  # fmt: skip
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    names = [f"{name}{where}" for name in ("bw-free", "bw-sends", "bw-gets")]
    cluster.kubectl("wait", "--for=condition=Ready", *(f"pod/{name}" for name in names), "--timeout=60s")

    def mbit_s(client, server):
        address = cluster.kubectl("get", "pod", server, "-o", "jsonpath={.status.podIP}")
        told = json.loads(cluster.kubectl("exec", client, "--", "iperf3", "-c", address, "-t", "2", "-J"))
        return told["end"]["sum_received"]["bits_per_second"] / 1e6

    # Bits, not bytes, and no more of them than that; a busy machine may reach less.
    assert 10 < mbit_s(names[1], names[0]) < 48
    assert 10 < mbit_s(names[0], names[2]) < 48
    # The other way has no limit.
    assert mbit_s(names[2], names[0]) > 60
    cluster.kubectl("delete", "pod", *names, "--wait=false")


def test_a_bandwidth_that_is_none_keeps_a_pod_from_its_sandbox(cluster):
    body = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "bw-none", "annotations": {"kubernetes.io/egress-bandwidth": "5"}},
        "spec": {"containers": [{"name": "c", "image": "busybox", "command": ["sleep", "9"]}]},
    }  # fmt: skip
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    told = dict(until(lambda: [one for one in events(cluster, "bw-none") if one[0] == "FailedCreatePodSandBox"]))
    assert "resource is unreasonably small (< 1kbit)" in told["FailedCreatePodSandBox"]
    cluster.kubectl("delete", "pod", "bw-none", "--wait=false")


@needs_iperf3
def test_iperf3_between_pods(cluster):
    cluster.pod("iperf3-server", image="networkstatic/iperf3", container={"args": ["-s"]}, **node("real-worker"))
    cluster.pod("iperf3-client", "sleep", "inf", image="networkstatic/iperf3", **node("real-worker2"))
    cluster.service("iperf3-server", "iperf3-server", 5201, 5201)
    # The server may not listen yet, nor the service lead to it.
    ask = "until iperf3 -c iperf3-server -t 1 -J > /tmp/told; do sleep 0.2; done; cat /tmp/told"
    result = json.loads(cluster.kubectl("exec", "iperf3-client", "--", "timeout", "60", "sh", "-c", ask))
    assert result["end"]["sum_received"]["bits_per_second"] > 0
    assert "Accepted connection" in cluster.kubectl("logs", "iperf3-server")


def test_streams_reach_processes(cluster):
    cluster.pod("streams", "sh", "-c", "echo begun; sleep inf")
    assert cluster.kubectl("exec", "-i", "streams", "--", "cat", stdin="to and fro") == "to and fro"
    assert "exit code 7" in cluster.sh("streams", "exit 7", code=7)
    assert "executable file not found" in cluster.kubectl("exec", "streams", "--", "no-such-program", code=127)
    assert cluster.kubectl("logs", "streams") == "begun\n"
    big = cluster.sh("streams", "head -c 3000000 /dev/zero | tr '\\0' x")
    assert len(big) == 3_000_000


def test_what_must_not_be_roots_waits_and_what_is_not_enforced_is_said(cluster):
    cluster.pod("rootless", "sleep", "inf", wait="", securityContext={"runAsNonRoot": True})
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    cluster.kubectl("wait", f"--for=jsonpath={reason}=CreateContainerConfigError", "pod/rootless", "--timeout=60s")
    cluster.pod("readonly", "sleep", "inf", container={"securityContext": {"readOnlyRootFilesystem": True}})
    said = cluster.kubectl("get", "pod", "readonly", "-o", "jsonpath={.status.conditions[*].message}")
    assert "readOnlyRootFilesystem is not enforced" in said


def test_files_of_a_secret_are_read_by_whom_their_modes_let(cluster):
    cluster.kubectl("create", "secret", "generic", "moded", "--from-literal=k=hidden")
    for name, group in (("stranger", {}), ("member", {"fsGroup": 2000})):
        cluster.pod(
            name, "sleep", "inf",
            container={"volumeMounts": [{"name": "s", "mountPath": "/s"}]},
            volumes=[{"name": "s", "secret": {"secretName": "moded", "defaultMode": 0o400}}],
            securityContext={"runAsUser": 1000, **group},
        )  # fmt: skip
    assert "Permission denied" in cluster.sh("stranger", "cat /s/k", code=1)
    assert cluster.sh("member", "cat /s/k; stat -c ' %a %g' /s/k") == "hidden 440 2000\n"


def test_input_waits_for_who_reads_it_and_arrives_whole(cluster, tmp_path):
    cluster.pod("reader", "sleep", "inf")
    size = 40_000_000
    file = tmp_path / "file"
    file.write_bytes(os.urandom(size))
    # A pod's root may not give files away.
    os.chown(file, 1234, 1234)
    command, environment = cluster.command("exec", "-i", "reader", "--", "sh", "-c", "sleep 0.5; cksum")
    for spdy in (False, True):
        with file.open("rb") as given:
            found = subprocess.check_output(
                command,
                stdin=given,
                env=environment | ({"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false"} if spdy else {}),
                timeout=40,
            )
        assert found == subprocess.check_output(["cksum"], input=file.read_bytes())
    cluster.kubectl("cp", str(file), "reader:/tmp/there")
    cluster.kubectl("cp", "reader:/tmp/there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    # It ends without having read it all.
    with file.open("rb") as given:
        ended = subprocess.run(
            [*command[:-1], "head -c 10; exit 4"], stdin=given, env=environment, check=False, timeout=40
        )
    assert ended.returncode == 4


def test_a_terminal_of_a_process_has_the_clients_size(cluster):
    cluster.pod("terminal", "sleep", "inf")
    command, environment = cluster.command(
        "exec", "-it", "terminal", "--", "sh", "-c", "stty size; tty; read x; echo got $x"
    )
    ours, theirs = os.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("=4H", 31, 77, 0, 0))
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 15
    os.write(ours, b"typed\r")
    while b"got typed" not in seen and time.monotonic() < deadline:
        seen += os.read(ours, 4096)
    assert process.wait(60) == 0
    os.close(ours)
    assert b"31 77" in seen
    # The terminal is of the pod's own /dev/pts.
    assert b"/dev/pts/" in seen


def test_port_forward_reaches_a_process(cluster):
    cluster.pod("forwarded", "python3", "-c", SERVE, "through", image="python")
    # kubectl takes a connection before it knows whether anybody listens in the pod.
    cluster.kubectl("exec", "forwarded", "--", "python3", "-c", ASK, "127.0.0.1", "8080")
    command, environment = cluster.command("port-forward", "pod/forwarded", ":8080")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        port = process.stdout.readline().split("->")[0].rpartition(":")[2]
        asked = subprocess.run(["python3", "-c", ASK, "127.0.0.1", port], capture_output=True, text=True, check=False)
        assert asked.stdout.split() == ["through", "127.0.0.1"]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def test_programs_end_restart_and_complete_as_they_say(cluster):
    cluster.pod("ends", "sh", "-c", "echo last words; exit 3", wait="", restartPolicy="Never")
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/ends", "--timeout=60s")
    code = "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"
    assert cluster.kubectl("get", "pod", "ends", "-o", code) == "3"
    assert cluster.kubectl("logs", "ends") == "last words\n"
    cluster.pod("missing", "no-such-program", wait="", restartPolicy="Never")
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/missing", "--timeout=60s")
    assert "executable file not found in $PATH" in cluster.kubectl("get", "pod", "missing", "-o", "yaml")


def events(cluster, pod):
    words = ["get", "events", f"--field-selector=involvedObject.name={pod}", "-o", "json"]
    return [(e["reason"], e["message"]) for e in json.loads(cluster.kubectl(*words))["items"]]


def test_readiness_follows_what_the_probe_finds(cluster):
    probe = {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    cluster.pod("careful", "sleep", "inf", container={"readinessProbe": probe}, wait="")
    cluster.kubectl("wait", "--for=condition=ContainersReady=false", "pod/careful", "--timeout=60s")
    until(lambda: [m for r, m in events(cluster, "careful") if r == "Unhealthy"])
    [text, *_] = [m for r, m in events(cluster, "careful") if r == "Unhealthy"]
    assert text.startswith("Readiness probe failed: cat: /tmp/ready: No such file or directory")
    cluster.sh("careful", "touch /tmp/ready")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/careful", "--timeout=60s")
    cluster.sh("careful", "rm /tmp/ready")
    cluster.kubectl("wait", "--for=condition=Ready=false", "pod/careful", "--timeout=60s")


WEB = "import http.server,os\nclass H(http.server.BaseHTTPRequestHandler):\n def do_GET(s):\n  s.send_response(500 if os.path.exists('/tmp/sick') else 200)\n  s.end_headers()\n def log_message(*_): pass\nhttp.server.HTTPServer(('',8080),H).serve_forever()"


def test_a_container_that_a_liveness_probe_finds_sick_is_started_again(cluster):
    probe = {"httpGet": {"port": "web", "path": "/health"}, "periodSeconds": 1, "failureThreshold": 2}
    container = {"livenessProbe": probe, "startupProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}
    container["ports"] = [{"name": "web", "containerPort": 8080}]
    cluster.pod("sickly", "python3", "-c", WEB, image="python", container=container)
    cluster.sh("sickly", "touch /tmp/sick")
    path = "jsonpath={.status.containerStatuses[0].restartCount}"
    until(lambda: cluster.kubectl("get", "pod", "sickly", "-o", path) != "0")
    told = events(cluster, "sickly")
    assert ("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500") in told
    assert ("Killing", "Container c failed liveness probe, will be restarted") in told


def test_hooks_run_in_the_container(cluster):
    sh = ["/bin/sh", "-c"]
    hooks = {
        "postStart": {"exec": {"command": [*sh, "echo started > /tmp/told"]}},
        "preStop": {
            "exec": {"command": [*sh, "echo stopping > /proc/1/fd/1 2>/dev/null; touch /tmp/asked; sleep 0.2"]}
        },
    }
    trap = "trap 'test -f /tmp/asked && echo asked before the signal; exit 0' TERM"
    script = f"{trap}; echo begun; while :; do sleep 0.05; done"
    cluster.pod("hooked", *sh, script, container={"lifecycle": hooks}, terminationGracePeriodSeconds=5)
    assert cluster.sh("hooked", "cat /tmp/told") == "started\n"
    words, environment = cluster.command("logs", "-f", "hooked")
    following = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    assert following.stdout.readline() == "begun\n"
    cluster.kubectl("delete", "pod", "hooked")
    assert "asked before the signal" in following.communicate(timeout=60)[0]


def test_a_post_start_hook_that_fails_ends_the_container(cluster):
    hooks = {"postStart": {"exec": {"command": ["false"]}}}
    cluster.pod("unhooked", "sleep", "inf", container={"lifecycle": hooks}, wait="", restartPolicy="Never")
    until(lambda: ("FailedPostStartHook", "PostStartHook failed") in events(cluster, "unhooked"))
    until(lambda: cluster.kubectl("get", "pod", "unhooked", "-o", "jsonpath={.status.phase}") == "Failed")


@pytest.fixture
def control_groups():
    try:
        sweep(Groups.made(os.getpid()).folders)
    except OSError as error:
        pytest.skip(f"no control groups here: {error}")


def state_of(cluster, pod, field="state"):
    path = "{.status.containerStatuses[0]." + field + "}"
    return json.loads(cluster.kubectl("get", "pod", pod, "-o", f"jsonpath={path}") or "{}")


# What tells the processes of a pod from all others of this machine.
POD_UID = {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}


def processes_with(uid):
    """Return the folders in /proc of what carries a pod's uid in its environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"POD_UID={uid}".encode() in (place / "environ").read_bytes().split(b"\0"):
                found.append(place)
    return found


def cpu_limits(uid):
    """Return how many thousandths of a core the kernel gives a pod's processes, None for no limit."""
    found = set()
    for place in processes_with(uid):
        with suppress(ProcessLookupError, FileNotFoundError):
            groups = [line.split(":", 2) for line in (place / "cgroup").read_text().splitlines()]
            own = {name: folder for _, names, folder in groups for name in names.split(",")}
            if "cpu" in own:
                folder = Path(f"/sys/fs/cgroup/cpu{own['cpu']}")
                quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            else:
                words = Path(f"/sys/fs/cgroup{own['']}/cpu.max").read_text().split()
                quota, period = -1 if words[0] == "max" else int(words[0]), int(words[1])
            found.add(quota * 1000 // period if quota > 0 else None)
    return found


def test_limits_hold_and_what_is_used_is_measured(cluster, control_groups):
    limits = {"resources": {"limits": {"cpu": "200m", "memory": "64Mi"}}}
    burner = {**limits, "env": [POD_UID]}
    cluster.pod("burner", "python3", "-c", "while 1: pass", container=burner)
    hungry = {**limits, "env": [{"name": "GREED", "value": str(300 << 20)}]}
    eat = "import os\nx = bytearray(int(os.environ['GREED']))"
    cluster.pod("eater", "python3", "-c", eat, container=hungry, restartPolicy="Never", wait="")
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/eater", "--timeout=60s")
    ended = state_of(cluster, "eater")["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)

    def used():
        _, cpu, memory = cluster.kubectl("top", "pod", "burner", "--no-headers").split()
        return int(cpu.removesuffix("m")), int(memory.removesuffix("Mi"))

    found = []
    for _ in range(5):
        # A figure is of the time since the one before.
        time.sleep(1.2)
        found.append(used())
    # How much it gets below its limit is the machine's affair.
    assert 0 < max(cpu for cpu, _ in found) <= 400
    assert all(1 <= memory <= 64 for _, memory in found)
    uid = cluster.kubectl("get", "pod", "burner", "-o", "jsonpath={.metadata.uid}")
    assert cpu_limits(uid) == {200}
    # Resized in place: more CPU for the same process.
    patch = {
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "600m"}, "requests": {"cpu": "600m"}}}]}
    }
    cluster.kubectl("patch", "pod", "burner", "--subresource=resize", "-p", json.dumps(patch))
    until(lambda: cpu_limits(uid) == {600})
    assert cluster.kubectl("get", "pod", "burner", "-o", "jsonpath={.status.containerStatuses[0].restartCount}") == "0"
    cluster.kubectl("delete", "pod", "burner", "eater", "--wait=false")


def inits_of(uid):
    """Return process 1 of a pod: the parent of what carries its uid in the environment."""
    return {int((place / "stat").read_text().rpartition(")")[2].split()[1]) for place in processes_with(uid)}


@pytest.mark.parametrize("policy", ["Always", "Never"])
def test_a_sandbox_that_is_killed_is_made_again_if_its_containers_may_be(cluster, policy):
    name = f"struck-{policy.lower()}"
    cluster.pod(name, "sleep", "1000", container={"env": [POD_UID]}, restartPolicy=policy)
    (init,) = inits_of(cluster.kubectl("get", "pod", name, "-o", "jsonpath={.metadata.uid}"))
    os.kill(init, signal.SIGKILL)
    if policy == "Never":
        cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", f"pod/{name}", "--timeout=60s")
        assert state_of(cluster, name)["terminated"]["exitCode"] == 137
        return
    cluster.kubectl(
        "wait", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", f"pod/{name}", "--timeout=60s"
    )
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    assert state_of(cluster, name, "lastState")["terminated"]["exitCode"] == 137
    assert "SandboxChanged" in cluster.kubectl("get", "events", "--field-selector", f"involvedObject.name={name}")
    assert cluster.sh(name, "echo here").strip() == "here"


def test_a_client_of_exec_ends_with_its_container(cluster, control_groups):
    cluster.pod("brief", "sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done", restartPolicy="Never")
    command, environment = cluster.command("exec", "brief", "--", "sh", "-c", "echo in; exec sleep 600")
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as client:
        assert client.stdout.readline() == "in\n"
        cluster.sh("brief", "touch /tmp/go")
        assert client.wait(60) == 137


def test_an_unknown_image_stays_modelled_and_says_so(cluster):
    cluster.pod("unknown", image="nginx")
    condition = 'jsonpath={.status.conditions[?(@.type=="kubedyno.io/Processes")]}'
    found = json.loads(cluster.kubectl("get", "pod", "unknown", "-o", condition))
    assert (found["status"], found["reason"]) == ("False", "Modelled")
    assert "image nginx stands for no local command" in found["message"]
    for spec, word in (
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "hostPath"),
        ({"hostPID": True}, "hostPID"),
        ({"container": {"securityContext": {"privileged": True}}}, "privileged"),
        ({"container": {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}}, "SYS_ADMIN"),
    ):
        cluster.pod("fenced", "sleep", "inf", **spec)
        found = json.loads(cluster.kubectl("get", "pod", "fenced", "-o", condition))
        assert found["status"] == "False"
        assert word in found["message"]
        cluster.kubectl("delete", "pod", "fenced", "--now")


# --- the fence -------------------------------------------------------------------------------------------------------

ATTACK = """
for d in {folders}; do
  echo changed > $d/canary; rm -f $d/canary; rm -rf $d; echo new > $d/new; chmod 777 $d/canary; mv $d/canary $d/moved
  mount -o remount,rw $d; ln $d/canary /tmp/link; truncate -s 0 $d/canary
done 2>/dev/null
for p in /proc/1/root {outside}; do echo changed > $p/canary; rm -rf $p/canary; done 2>/dev/null
chmod 000 /dev/null; echo x > /proc/sys/kernel/hostname; mknod /tmp/disk b 254 0; kill -9 -1
true
"""


@pytest.fixture
def canaries(tmp_path):
    """Files in host folders: one that a pod does not see, and some in those that it sees."""
    made = [Path("/usr/local/share/kubedyno-canary"), Path("/opt/kubedyno-canary"), tmp_path / "canary"]
    source = Path(embedded.__file__).parent / "canary-of-a-test"
    made.append(source)
    for folder in made:
        folder.mkdir()
        (folder / "canary").write_text("alive")
        (folder / "canary").chmod(0o666)
        folder.chmod(0o777)
    yield made
    for folder in made:
        shutil.rmtree(folder)


def test_a_pod_changes_nothing_of_the_machine(cluster, canaries):
    hostname, null = os.uname().nodename, Path("/dev/null").stat()
    cluster.pod("attacker", "sleep", "inf")
    script = ATTACK.format(folders=" ".join(map(str, canaries)), outside=f"/proc/1/root{canaries[2]} {canaries[2]}")
    cluster.kubectl("exec", "attacker", "--", "sh", "-c", script)
    for folder in canaries:
        assert [entry.name for entry in folder.iterdir()] == ["canary"]
        assert (folder / "canary").read_text() == "alive"
        assert (folder / "canary").stat().st_mode & 0o777 == 0o666
    assert (os.uname().nodename, Path("/dev/null").stat().st_mode) == (hostname, null.st_mode)


def test_a_pod_has_two_capabilities_and_sees_itself_alone(cluster):
    cluster.pod("inside", "sleep", "inf")
    status = cluster.sh("inside", "cat /proc/self/status")
    wanted = f"{1 << 10 | 1 << 13:016x}"
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert f"{name}:\t{wanted}" in status
    assert "NoNewPrivs:\t1" in status
    assert len(cluster.sh("inside", "ls -d /proc/[0-9]*").split()) <= 5
    assert cluster.sh("inside", "ls -A /sys; ls -A /home; ls /proc/self/fd").split() == ["0", "1", "2", "3"]
    assert cluster.sh("inside", "ls /sys/class/net 2>/dev/null; cat /proc/net/dev | grep -c :") == "2\n"
    kept = cluster.sh("inside", "echo mine > /tmp/x && echo mine > /run/y && cat /tmp/x /run/y")
    assert kept == "mine\nmine\n"


def test_a_pod_cannot_reach_the_machine(cluster):
    cluster.pod("lonely", "sleep", "inf")
    port = str(free_port())
    server = subprocess.Popen(["python3", "-c", SERVE.replace("8080", port), "host"], stdout=subprocess.DEVNULL)
    try:
        # Who is of the machine reaches it.
        asked = subprocess.run(["python3", "-c", ASK, "127.0.0.1", port], capture_output=True, text=True, check=False)
        assert asked.stdout.split() == ["host", "127.0.0.1"]
        for address in ("127.0.0.1", "1.1.1.1", "172.18.0.1", "169.254.169.254"):
            cluster.kubectl("exec", "lonely", "--", "python3", "-c", ASK, address, port, SOON, code=1)
    finally:
        server.kill()
        server.wait()


API = """
token=$(cat $0/token); curl -s -m 30 --cacert $0/ca.crt -H "Authorization: Bearer $token" $1
"""


def test_a_pod_asks_the_api_server_as_its_service_account_and_gets_what_that_may(cluster, tmp_path):
    cluster.pod("asking", "sleep", "inf")
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert cluster.sh("asking", f"cat {folder}/namespace") == "default"

    def ask(path):
        url = f"https://kubernetes.default.svc/{path}"
        return json.loads(cluster.kubectl("exec", "asking", "--", "sh", "-c", API, folder, url))

    refused = ask("api/v1/namespaces/default/pods")
    assert refused["code"] == 403
    assert 'User "system:serviceaccount:default:default" cannot list resource "pods"' in refused["message"]
    cluster.kubectl("create", "rolebinding", "asking", "--clusterrole=view", "--serviceaccount=default:default")
    assert "asking" in [pod["metadata"]["name"] for pod in ask("api/v1/namespaces/default/pods")["items"]]
    # By the variables too, as client libraries do, and the certificate is good for that address.
    address = "https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/version"
    script = f"curl -s -m 30 -w '%{{http_code}}' -o /dev/null --cacert {folder}/ca.crt {address}"
    assert cluster.sh("asking", script) == "200"
    # A token dies with its pod.
    token = cluster.sh("asking", f"cat {folder}/token")
    cluster.kubectl("delete", "pod", "asking", "--now")
    # The administrator's certificate would count before it.
    config = json.loads(cluster.kubectl("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": token}
    alone = tmp_path / "kubeconfig"
    alone.write_text(json.dumps(config))
    # kubectl's word for a 401.
    assert "must be logged in" in cluster.kubectl("--kubeconfig", str(alone), "get", "pods", code=1)


def test_node_ports_and_host_ports_lead_to_processes(cluster):
    cluster.pod("client", "sleep", "inf", **node("real-worker"))
    ports = {"ports": [{"containerPort": 8080, "hostPort": 4000}]}
    cluster.pod("ported", "python3", "-c", SERVE, "ported", image="python", container=ports, **node("real-worker2"))
    cluster.service("ported", "ported", 80, 8080, type="NodePort")
    number = cluster.kubectl("get", "svc", "ported", "-o", "jsonpath={.spec.ports[0].nodePort}")
    addresses = cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[*].status.addresses[0].address}").split()
    ask = ["exec", "client", "--", "python3", "-c", ASK]
    # Also the control plane's, where no pod of ours ever was.
    for address in addresses:
        assert cluster.kubectl(*ask, address, number).startswith("ported")
    own = cluster.kubectl("get", "pod", "ported", "-o", "jsonpath={.status.hostIP}")
    assert cluster.kubectl(*ask, own, "4000").startswith("ported")


# --- what is left ----------------------------------------------------------------------------------------------------


def processes_of(pid):
    """Return the ids of a process's descendants."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        found.append((int(entry.name), parent))
    own = {pid}
    while True:
        more = {child for child, parent in found if parent in own} - own
        if not more:
            return own - {pid}
        own |= more


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_cluster(tmp_path, monkeypatch, how):
    monkeypatch.setenv("KUBEDYNO_HOME", str(tmp_path / "home"))
    settings, _ = cluster_settings(name="left", nodes=2, speed=0.0, idle_timeout="5m", runtime="netns")
    cluster = Cluster(embedded.up(settings), tmp_path / "cache")
    try:
        cluster.pod("stubborn", "sh", "-c", "trap '' TERM HUP; setsid sleep 1000 & while :; do sleep 1; done")
        children = processes_of(cluster.running.pid)
        assert len(children) >= 4
        mounts = Path("/proc/self/mountinfo").read_text()
        os.kill(cluster.running.pid, how)
        deadline = time.monotonic() + 60
        groups = [Path(place, f"kubedyno-{cluster.running.pid}") for place in Path("/sys/fs/cgroup").glob("*")]
        while any(map(alive, children)) or any(group.exists() for group in groups):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert Path("/proc/self/mountinfo").read_text() == mounts
    finally:
        embedded.down("left")


def test_a_removed_pod_cannot_be_reached_any_more(cluster):
    cluster.pod("asks", "sleep", "inf")
    cluster.pod("gone", "python3", "-c", SERVE, "still here", image="python")
    address = cluster.kubectl("get", "pod", "gone", "-o", "jsonpath={.status.podIP}")
    assert cluster.kubectl("exec", "asks", "--", "python3", "-c", ASK, address, "8080").startswith("still here")
    cluster.kubectl("delete", "pod", "gone")
    cluster.kubectl("exec", "asks", "--", "python3", "-c", ASK, address, "8080", SOON, code=1)
    assert "not found" in cluster.sh("gone", "true", code=1)


def test_the_machines_own_namespace_has_no_device_of_the_pods(cluster):
    cluster.pod("elsewhere", "sleep", "inf")
    space = Namespace.current()
    try:
        assert "pod1" not in space.proc_net("dev")
        assert "node1" not in space.proc_net("dev")
    finally:
        space.close()


def test_a_mapped_port_of_the_machine_leads_to_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBEDYNO_HOME", str(tmp_path / "home"))
    port = free_port()
    file = tmp_path / "kind.yaml"
    mapping = f"  extraPortMappings:\n  - {{containerPort: 30123, hostPort: {port}}}\n"
    file.write_text(
        f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n{mapping}- role: worker\n"
    )
    settings, _ = cluster_settings(name="mapped", config=file, speed=0.0, idle_timeout="5m", runtime="netns")
    cluster = Cluster(embedded.up(settings), tmp_path / "cache")
    try:
        cluster.pod("server", "python3", "-c", SERVE, "mine", image="python")
        ports = [{"port": 80, "targetPort": 8080, "nodePort": 30123}]
        cluster.service("server", "server", 80, 8080, type="NodePort", ports=ports)

        def said():
            # Who answers without having read it all may hang up in the middle of it.
            with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 30) as asking:
                asking.sendall(b"GET / HTTP/1.1\r\n\r\n")
                return asking.recv(999)
            return b""

        until(lambda: said().startswith(b"mine"))
        cluster.kubectl("delete", "service", "server")
        until(lambda: b"503 Service Unavailable" in said())
    finally:
        embedded.down("mapped")


# --- without root ----------------------------------------------------------------------------------------------------

# No root, and no capability: what a user of the machine is. Files stay those of this process, which is the interpreter's.
UNPRIVILEGED = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]


def _maps_users():
    try:
        return subprocess.run([*UNPRIVILEGED, "true"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


needs_users = pytest.mark.skipif(not _maps_users(), reason="needs unshare --map-user, and user namespaces")


def _up(home, *words):
    environment = {**os.environ, "KUBEDYNO_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [
        *UNPRIVILEGED,
        os.sys.executable,
        "-m",
        "kubedyno",
        "cluster",
        "up",
        "--name",
        "user",
        "--runtime",
        "netns",
    ]
    return subprocess.run(
        [*command, *words], capture_output=True, text=True, check=False, timeout=60, env=environment
    )  # fmt: skip


@needs_users
def test_without_root_pods_are_processes_in_a_user_namespace(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBEDYNO_HOME", str(tmp_path / "home"))
    done = _up(tmp_path / "home", "--nodes", "3", "--speed", "0", "--idle-timeout", "5m")
    assert done.returncode == 0, done.stderr
    running = embedded.find("user")
    cluster = Cluster(running, tmp_path / "cache")
    try:
        cluster.pod("client", "sleep", "inf", **node("user-worker"))
        cluster.pod("server", "python3", "-c", SERVE, "mine", image="python", **node("user-worker2"))
        cluster.service("server", "server", 80, 8080, type="NodePort")
        assert cluster.kubectl("exec", "client", "--", "python3", "-c", ASK, "server", "80").startswith("mine")
        number = cluster.kubectl("get", "svc", "server", "-o", "jsonpath={.spec.ports[0].nodePort}")
        assert cluster.kubectl("exec", "client", "--", "python3", "-c", ASK, "172.18.0.2", number).startswith("mine")
        script = "curl -sk -o /dev/null -w '%{http_code}' -m 30 https://kubernetes.default/version"
        assert cluster.sh("client", script) == "200"
        assert "Read-only file system" in cluster.sh("client", "touch /usr/x", code=1)
        left = processes_of(running.pid)
        assert len(left) > 2
        os.kill(running.pid, signal.SIGKILL)
        end = time.monotonic() + 60
        while any(map(alive, left)):
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        embedded.down("user")


@needs_users
@pytest.mark.parametrize(("words", "line"), [
    (("--datapath", "ebpf"), "--datapath ebpf: needs root, no user namespace may load programs; take route or bridge"),
    (("--config", "kind.yaml"), "extraPortMappings need root"),
    (("--runtime", "process"), "take netns, which needs no root either"),
])  # fmt: skip
def test_what_needs_root_is_one_line(tmp_path, words, line):
    mapping = "nodes:\n- role: control-plane\n  extraPortMappings:\n  - {containerPort: 30000, hostPort: 30999}\n"
    file = tmp_path / "kind.yaml"
    file.write_text(f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n{mapping}")
    done = _up(tmp_path / "home", *(str(file) if word == "kind.yaml" else word for word in words))
    assert done.returncode == 1
    assert line in done.stderr
    assert "Traceback" not in done.stderr
