"""A real Prometheus with the data set in it; without one on this machine the comparison is skipped."""

import http.client
import json
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from compat.promql import dataset, remotewrite
from kubedyno.promql.engine import Engine
from kubedyno.promql.store import SeriesStore
from ports import free_port

START_UP_S = 60


class Prometheus:
    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def close(self) -> None:
        self._connection.close()

    def write(self, body: bytes) -> None:
        self._connection.request("POST", "/api/v1/write", body, remotewrite.HEADERS)
        answer = self._connection.getresponse()
        said = answer.read()
        assert answer.status == 204, said

    def ask(self, path: str, **parameters: str | float) -> dict[str, object]:
        self._connection.request("GET", f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        return dict(json.loads(self._connection.getresponse().read()))


@contextmanager
def started(binary: str, directory: Path) -> Iterator[int]:
    """Run a Prometheus with the prometheus.yml and the data of a directory; yields its port."""
    port = free_port()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                binary, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=50y",
                "--web.enable-remote-write-receiver",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            cwd=directory,
            stdout=log,
            stderr=log,
        )  # fmt: skip
        try:
            for _ in range(START_UP_S * 10):
                try:
                    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                        connection.request("GET", "/-/ready")
                        if connection.getresponse().status == 200:
                            break
                except OSError:
                    pass
                assert process.poll() is None, (directory / "log").read_text()
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus on this machine")
    directory: Path = tmp_path_factory.mktemp("prometheus")
    (directory / "prometheus.yml").write_text("global: {evaluation_interval: 1m}\n")
    with started(binary, directory) as port:
        client = Prometheus(port)
        for body in remotewrite.requests(dataset.series()):
            client.write(body)
        yield client
        client.close()


@pytest.fixture(scope="session")
def engine() -> Engine:
    store = SeriesStore()
    for name, labels, points in dataset.series():
        column = store.column({"__name__": name, **labels})
        for at, value in points:
            store.append(column, at, value)
    return Engine(store)
