"""An API that answers 429, 500, 503, 403, 422 and hangs up: every object is accounted for, none dropped silently."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.random import Random
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.load.engine import sender as sending
from kubedyno.load.engine.bucket import TokenBucket
from kubedyno.load.engine.create import FINAL
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.engine.sender import Sender

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
users: [{{name: u, user: {{}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""
REASONS = {403: "Forbidden", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}


class Server:
    """Creates what is posted, unless its dice say otherwise."""

    def __init__(self, seed):
        self.made = Counter()
        self.answers = Counter()
        random, lock, outer = Random(seed), threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                name = self.rfile.read(int(self.headers["Content-Length"])).decode()
                with lock:
                    dice = random.choice((201, 201, 201, 403, 422, 429, 500, 503, 0))
                    outer.answers[dice] += 1
                    if dice == 201:
                        outer.made[name] += 1
                if not dice:
                    # Hung up without an answer.
                    self.close_connection = True
                    return
                body = {"kind": "Status", "code": dice, "reason": REASONS.get(dice, ""), "message": "dice"}
                raw = json.dumps(body).encode()
                self.send_response(dice)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_was_accepted_and_what_was_given_up_is_all_there_was(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "RETRY_BASE_S", 0.005)
    server = Server(seed)
    (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(url=server.url))
    record = JobRecord("j", "create", 1000, 1000, asked=300)
    lines = []

    async def run():
        async with Client(kubeconfig.load(tmp_path / "kubeconfig", None)) as client:
            sender = Sender(
                client, TokenBucket(1000, 1000), record, SYSTEM_CLOCK, retry_budget_s=30,
                final=lambda status: status in FINAL, on_error=lines.append, window=40,
            )  # fmt: skip
            for number in range(300):
                await sender.send(
                    "POST", "/api/v1/namespaces/n/configmaps", str(number).encode(), f"ConfigMap/{number}"
                )
                assert sender.under_way <= 40
            await sender.finish()
            assert sender.under_way == 0
            sender.close()

    try:
        aio.run(run())
    finally:
        server.close()
    failed = sum(record.failed.values())
    assert record.accepted + failed == record.sent == 300
    assert len(lines) == failed
    # Each accepted object is there, once; what was given up is not.
    assert set(server.made.values()) == {1}
    assert len(server.made) == record.accepted
    assert record.failed["Invalid"] == server.answers[422] > 0
    assert record.retried > 0
    assert record.throttled == server.answers[429] > 0
    assert sum(sent for sent, _, _, _ in record.per_second.values()) == 300
