"""A stale or half-dead API server: whatever it answers, and when it does not, the user gets one clear line."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.cli.main import main
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.lab import target

CONFIG = str(Path(__file__).parents[2] / "examples" / "study" / "s1-config.yaml")
REASONS = {401: "Unauthorized", 403: "Forbidden", 429: "TooManyRequests", 500: "InternalError", 503: ""}


class Server:
    """Answers every GET with one status, or with what a test planted for a path; 0 is silence."""

    def __init__(self):
        self.statuses = {}
        self.status = 500
        self.ended = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                status = owner.statuses.get(self.path.partition("?")[0], owner.status)
                if not status:
                    owner.ended.wait()
                    return
                answer = {"kind": "Status", "code": status, "reason": REASONS.get(status), "message": f"says {status}"}
                body = json.dumps(answer if status != 200 else {"gitVersion": "v1.36.0"}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_DELETE = do_PATCH = do_GET

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.thread = threading.Thread(target=self.httpd.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self):
        self.ended.set()
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


@pytest.fixture
def config(server, tmp_path, monkeypatch):
    """A kubeconfig of the server, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBEDYNO_HOME", str(tmp_path / "state"))
    cluster = {"server": f"http://127.0.0.1:{server.httpd.server_port}"}
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "half",
        "clusters": [{"name": "half", "cluster": cluster}],
        "users": [{"name": "half", "user": {"token": "old"}}],
        "contexts": [{"name": "half", "context": {"cluster": "half", "user": "half"}}],
    }  # fmt: skip
    path = tmp_path / "half.yaml"
    path.write_text(json.dumps(document))
    return path


def one_line(capsys, *words):
    assert main(words) == 1
    printed = capsys.readouterr()
    lines = (printed.out + printed.err).splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "renew the credentials"), (403, "rights"), (429, "overloaded"), (500, "not healthy")]
)
@pytest.mark.parametrize("verb", [("init", "-c", CONFIG, "--yes"), ("explain",)])
def test_a_server_that_says_no_is_one_line_that_names_it(server, config, capsys, verb, status, advice):
    server.status = status
    line = one_line(capsys, *verb, "--kubeconfig", str(config))
    assert f"127.0.0.1:{server.httpd.server_port}: answers {status} (says {status})" in line
    assert advice in line


def test_explain_does_not_say_that_all_pods_run_when_it_may_not_list_them(server, config, capsys):
    server.status, server.statuses = 403, {"/version": 200}
    line = one_line(capsys, "explain", "--kubeconfig", str(config))
    assert "pods: not read (says 403)" in line


def test_a_server_that_takes_requests_and_is_silent_is_not_waited_for(server, config, monkeypatch):
    server.status = 0
    monkeypatch.setattr(target, "_FIRST_ANSWER_S", 0.3)

    async def ask():
        async with Client(kubeconfig.load(config, None)) as client:
            await target.greet(client)

    with pytest.raises(KubedynoError, match=r"no good answer to GET /version within 0.3 s"):
        asyncio.run(ask())


def test_a_no_that_no_verb_foresaw_is_a_line_and_our_own_mistakes_keep_their_trace(monkeypatch, capsys):
    from kubedyno.cli import version
    from kubedyno.kube.status import InternalError

    def no(_):
        raise InternalError("etcdserver: request timed out")

    monkeypatch.setattr(version, "run", no)
    assert main(["version"]) == 1
    assert capsys.readouterr().err == (
        "kubedyno: the API server answers 500 InternalError: etcdserver: request timed out\n"
    )
    monkeypatch.setattr(version, "run", lambda _: {}["mistake"])
    with pytest.raises(KeyError):
        main(["version"])
