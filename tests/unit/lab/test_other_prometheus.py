"""A Prometheus that is slow, wrong or forbidden: one line each."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kubedyno.cli.main import main
from kubedyno.lab import metrics

ANSWERS = {
    "/forbidden": (403, b"<html>no</html>"),
    "/unauthorized": (401, b""),
    "/html": (200, b"<!doctype html>\x1b[31m<title>hello</title>"),
    "/list": (200, b"[]"),
    "/gone": (404, b"404 page not found"),
    "/refuses": (400, b'{"status":"error","errorType":"bad_data","error":"no such thing"}'),
    "/proxy": (502, b"Bad Gateway"),
}


@contextmanager
def served(hang: threading.Event) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            place = self.path.removesuffix("/api/v1/query")
            if place == "/hangs":
                hang.wait(5)
                return
            status, body = ANSWERS[place]
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        hang.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/forbidden", "answers 403: it lets nobody ask"),
        ("/unauthorized", "answers 401: it lets nobody ask"),
        ("/html", "answers 200, which is not what a Prometheus says: <!doctype html>"),
        ("/list", "answers 200, which is not what a Prometheus says"),
        ("/gone", "answers 404, which is not what a Prometheus says: 404 page not found; is the URL right?"),
        ("/refuses", "bad_data: no such thing"),
        ("/proxy", "answers 502"),
        ("/hangs", "no answer within 0.3 s"),
    ],
)
def test_each_is_one_line(place, said, capsys, monkeypatch):
    monkeypatch.setattr(metrics, "_ASK_S", 0.3)
    with served(threading.Event()) as url:
        assert main(["metrics", "query", "--prometheus-url", url + place, "up"]) == 1
    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.splitlines()) == 1
    assert "\x1b" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("output", ["table", "json"])
def test_nobody_there_is_one_line(output, capsys):
    assert main(["metrics", "query", "--prometheus-url", "http://127.0.0.1:1", "-o", output, "up"]) == 1
    assert "is a Prometheus there?" in capsys.readouterr().err
    assert main(["metrics", "query", "--prometheus-url", "127.0.0.1:9090", "-o", output, "up"]) == 1
    assert "is no URL of a Prometheus" in capsys.readouterr().err
