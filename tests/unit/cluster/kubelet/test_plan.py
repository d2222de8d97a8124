from math import inf
from typing import Any

import pytest

from kubedyno.cluster.kubelet.images import NodeImages, image_of
from kubedyno.cluster.kubelet.programs import behaviour, reads_commands


@pytest.mark.parametrize(
    ("image", "argv", "seconds", "code"),
    [
        ("nginx:1", [], inf, 0),
        ("busybox:1", [], 0, 0),
        ("busybox:1", ["sleep", "30"], 30, 0),
        ("busybox:1", ["/bin/sleep", "1m"], 60, 0),
        ("busybox:1", ["sleep", "infinity"], inf, 0),
        ("busybox:1", ["false"], 0, 1),
        ("busybox:1", ["sh", "-c", "sleep 5; exit 3"], 5, 3),
        ("busybox:1", ["sh", "-c", "echo hello && sleep 2 && false"], 2, 1),
        ("busybox:1", ["sh", "-c", "false || sleep 4"], 4, 0),
        ("busybox:1", ["sh", "-c", "true || sleep 4"], 0, 0),
        ("busybox:1", ["sh", "-c", "false\nexit"], 0, 1),
        ("busybox:1", ["sh", "-c", "while true; do sleep 1; done"], inf, 0),
        ("busybox:1", ["sh", "-c", "sleep 5 | cat"], inf, 0),
        ("a/server:1", ["server", "--port", "80"], inf, 0),
    ],
)
def test_plain_commands_are_taken_at_their_word(image: str, argv: list[str], seconds: float, code: int) -> None:
    container: dict[str, Any] = {"name": "c", "image": image}
    if argv:
        container["command"] = argv
    assert behaviour(container, image_of(image)) == (seconds, code)


@pytest.mark.parametrize(
    ("image", "argv", "stdin", "waits"),
    [
        ("busybox:1", ["sh"], True, True),
        ("alpine", ["/bin/ash", "-l"], True, True),
        ("busybox:1", [], True, True),
        ("busybox:1", ["sh"], False, False),
        ("busybox:1", ["sh", "-c", "server"], True, False),
        ("busybox:1", ["sh", "-ec", "server"], True, False),
        ("busybox:1", ["sh", "start.sh"], True, False),
        ("busybox:1", ["sleep", "5"], True, False),
        ("hello-world", [], True, False),
        ("nginx:1", [], True, False),
    ],
)
def test_a_shell_with_an_input_waits_for_what_is_typed(image: str, argv: list[str], stdin: bool, waits: bool) -> None:
    assert reads_commands({"name": "c", "image": image, "command": argv, "stdin": stdin}) is waits


@pytest.mark.parametrize(
    ("image", "args", "seconds"),
    [
        ("gcr.io/k8s-staging-perf-tests/sleep:v0.1.0", ["3s"], 3),
        ("example.org/sleep", ["soon"], inf),
        ("example.org/sleeper", ["3s"], inf),
        ("example.org/true", ["3s"], inf),
    ],
)
def test_arguments_of_an_image_named_sleep_are_how_long_it_runs(image: str, args: list[str], seconds: float) -> None:
    assert behaviour({"name": "c", "image": image, "args": args}, image_of(image)) == (seconds, 0)


@pytest.mark.parametrize(
    ("reference", "name", "host"),
    [
        ("nginx", "docker.io/library/nginx:latest", "docker.io"),
        ("a/b:1", "docker.io/a/b:1", "docker.io"),
        ("quay.io/a/b", "quay.io/a/b:latest", "quay.io"),
        ("localhost:5000/b:2", "localhost:5000/b:2", "localhost:5000"),
        ("quay.io/b@sha256:ab", "quay.io/b@sha256:ab", "quay.io"),
    ],
)
def test_references_have_a_normal_form(reference: str, name: str, host: str) -> None:
    image = image_of(reference)
    assert (image.name, image.host) == (name, host)
    assert image.image_id.startswith(image.repository + "@sha256:")


def test_only_hosts_that_never_resolve_have_no_images() -> None:
    assert not image_of("registry.invalid/a:1").exists
    assert not image_of("registry.invalid:5000/a:1").exists
    assert image_of("registry.example.com/a:1").exists


def test_a_node_lists_its_images_the_largest_first() -> None:
    images = NodeImages()
    for reference in ("busybox:1", "postgres:17", "nginx:1"):
        images.add(image_of(reference))
    assert [entry["names"][1].rpartition("/")[2] for entry in images.listed()] == [
        "postgres:17",
        "nginx:1",
        "busybox:1",
    ]
    assert len(images.listed(2)) == 2


def test_an_image_comes_over_the_wire_once_however_many_wait_for_it() -> None:
    serial, parallel = NodeImages(), NodeImages()
    nginx, redis = image_of("nginx:1"), image_of("redis:7")
    times = {"whole_s": 10.0, "known_s": 1.0}
    assert serial.pull(nginx, 0, parallel=1, **times) == (0, 10)
    assert serial.pull(nginx, 2, parallel=1, **times) == (10, 1)
    assert serial.pull(redis, 3, parallel=1, **times) == (11, 10)
    assert parallel.pull(nginx, 0, parallel=0, **times) == (0, 10)
    assert parallel.pull(nginx, 2, parallel=0, **times) == (2, 8)
    assert parallel.pull(redis, 3, parallel=0, **times) == (3, 10)
    parallel.add(nginx)
    assert parallel.pull(nginx, 11, parallel=0, **times) == (11, 1)
