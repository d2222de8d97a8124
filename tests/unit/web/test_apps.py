"""Grafana beside the cluster: it gets a port of its own, whoever else takes one meanwhile."""

import asyncio
import os
import socket
import stat

import pytest

from kubedyno.cluster.settings import ClusterSettings
from kubedyno.web import apps

# As the real one: whoever has its port already is its end.
FAKE = """#!/bin/sh
exec python3 -c '
import os, socket, time
with socket.socket() as listening:
    listening.bind(("127.0.0.1", int(os.environ["GF_SERVER_HTTP_PORT"])))
    listening.listen()
    time.sleep(60)
'
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    path = tmp_path / "bin" / "grafana-server"
    path.parent.mkdir()
    path.write_text(FAKE)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    return path


def started(directory):
    return asyncio.run(apps._grafana(directory, ClusterSettings(), 9090, asyncio.Event()))


def test_grafana_is_announced_once_it_listens(fake, tmp_path):
    process, port = started(tmp_path)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_port_that_another_has_taken_meanwhile_is_left_to_it(fake, tmp_path, monkeypatch):
    tried, thieves = [], []
    start = apps._started

    def robbed(directory, settings, prometheus, port):
        tried.append(port)
        if not thieves:
            thieves.append(socket.create_server(("127.0.0.1", port)))
        return start(directory, settings, prometheus, port)

    monkeypatch.setattr(apps, "_started", robbed)
    process, port = started(tmp_path)
    try:
        assert tried[1:] == [port]
        assert port != tried[0]
    finally:
        process.kill()
        process.wait()
        thieves[0].close()


def test_a_grafana_that_never_listens_leaves_its_place_to_our_dashboards(fake, tmp_path, caplog):
    fake.write_text("#!/bin/sh\nexit 3\n")
    assert started(tmp_path) is None
    assert caplog.text.count("grafana ended with exit code 3") == apps._GRAFANA_TRIES
    assert "our own dashboards stay in its place" in caplog.text
