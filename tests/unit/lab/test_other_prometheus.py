"""A Prometheus that is slow, wrong or forbidden: one line each; credentials and authorities that it is asked with."""

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kubedyno.cli.main import main
from kubedyno.http.tls import Authority, server_context
from ports import refusing_port

ANSWERS = {
    "/forbidden": (403, b"<html>no</html>"),
    "/unauthorized": (401, b""),
    "/html": (200, b"<!doctype html>\x1b[31m<title>hello</title>"),
    "/list": (200, b"[]"),
    "/gone": (404, b"404 page not found"),
    "/refuses": (400, b'{"status":"error","errorType":"bad_data","error":"no such thing"}'),
    "/proxy": (502, b"Bad Gateway"),
    "/moved": (302, b""),
    "/empty": (200, b'{"status":"success"}'),
    "/strange": (200, b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}'),
    "/cut": (200, b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{'),
    "/hostile": (
        200,
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"\\u001b[31m"},"value":[1,"2"]}]}}',
    ),
    "": (200, b'{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}'),
}


@contextmanager
def served(
    hang: threading.Event, context: ssl.SSLContext | None = None, asked: list[str] | None = None
) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            place = self.path.removesuffix("/api/v1/query")
            if asked is not None:
                asked.append(self.headers.get("authorization", ""))
            if place == "/hangs":
                hang.wait(60)
                return
            status, body = ANSWERS["" if place == "/short" else place]
            self.send_response(status)
            # Of a short answer some bytes never come.
            self.send_header("content-length", str(len(body) + 10 * (place == "/short")))
            if status == 302:
                self.send_header("location", "https://login.example/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}"
    finally:
        hang.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/forbidden", "answers 403: it wants credentials: a token, or user and password (<html>no</html>)"),
        ("/unauthorized", "answers 401: it wants credentials: a token, or user and password"),
        ("/html", "answers 200, which is not what a Prometheus says: <!doctype html>"),
        ("/list", "answers 200, which is not what a Prometheus says"),
        ("/gone", "answers 404, which is not what a Prometheus says: 404 page not found; is the URL right?"),
        ("/refuses", "bad_data: no such thing"),
        ("/proxy", "answers 502"),
        ("/moved", "answers 302 and sends to https://login.example/; is the URL right?"),
        ("/empty", "answers 200, which is not what a Prometheus says"),
        ("/strange", "answers 200, which is not what a Prometheus says"),
        ("/cut", "answers 200, which is not what a Prometheus says"),
        ("/short", "is a Prometheus there?"),
        ("/hangs", "no answer within 0.3 s"),
    ],
)
def test_each_is_one_line(place, said, capsys):
    limit = "300ms" if place == "/hangs" else "60s"
    with served(threading.Event()) as url:
        assert main(["metrics", "query", "--timeout", limit, "--prometheus-url", url + place, "up"]) == 1
    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.splitlines()) == 1
    assert "\x1b" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("output", ["table", "json"])
def test_nobody_there_is_one_line(output, capsys):
    with refusing_port() as port:
        assert main(["metrics", "query", "--prometheus-url", f"http://127.0.0.1:{port}", "-o", output, "up"]) == 1
    assert "is a Prometheus there?" in capsys.readouterr().err
    assert main(["metrics", "query", "--prometheus-url", "127.0.0.1:9090", "-o", output, "up"]) == 1
    assert "is no URL of a Prometheus" in capsys.readouterr().err


def asked_with(url: str, *flags: str) -> int:
    return main(["metrics", "query", "--prometheus-url", url, *flags, "up"])


BASIC = "Basic bWU6c2VjcmV0"


@pytest.mark.parametrize(
    ("flags", "sent"),
    [
        (("--token", "secret"), "Bearer secret"),
        (("--token-file", "secret"), "Bearer secret"),
        (("--username", "me", "--password", "secret"), BASIC),
        (("--username", "me", "--password-file", "secret"), BASIC),
        (("--username", "me"), "Basic bWU6ZnJvbS1lbnY="),
        ((), "Bearer from-env"),
    ],
)
def test_it_is_asked_with_the_credentials_of_flags_files_and_environment(flags, sent, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBEDYNO_PROMETHEUS_TOKEN", "from-env")
    monkeypatch.setenv("KUBEDYNO_PROMETHEUS_PASSWORD", "from-env")
    (tmp_path / "secret").write_text("secret\n")
    asked: list[str] = []
    with served(threading.Event(), asked=asked) as url:
        assert asked_with(url, *flags) == 0
    assert asked == [sent]
    assert capsys.readouterr().out == "7\n"


def test_no_line_has_a_secret(tmp_path, capsys):
    asked: list[str] = []
    with served(threading.Event(), asked=asked) as url:
        forbidden = url.replace("//", "//me:secret@") + "/forbidden"
        assert asked_with(forbidden) == 1
        assert asked_with(url + "/unauthorized", "--token", "secret") == 1
        assert asked_with(forbidden.replace("http:", "ftp:")) == 1
        assert asked_with(url, "--token", "secret\r\nHost: other") == 1
    said = capsys.readouterr().err
    assert "does not take these credentials" in said
    assert "secret" not in said
    assert asked == [BASIC, "Bearer secret"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--token", "a", "--token-file", "b"), "--token and --token-file: give one of them"),
        (("--token-file", "nothing"), "--token-file nothing: cannot be read (No such file or directory)"),
        (("--token-file", "empty"), "--token-file empty: has no text in it"),
        (("--password", "a"), "a password needs --username"),
        (("--ca-file", "empty", "--skip-tls-verify"), "either checked or not"),
        (("--ca-file", "empty"), "has no PEM certificates in it"),
        (("--timeout", "soon"), "--timeout soon"),
        (("--timeout", "0s"), "--timeout 0s: has to be more than 0"),
    ],
)
def test_wrong_flags_are_one_line(flags, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").touch()
    assert asked_with("https://127.0.0.1:1", *flags) == 1
    captured = capsys.readouterr().err
    assert said in captured
    assert len(captured.splitlines()) == 1


def test_flags_of_a_prometheus_that_is_not_named_are_refused(capsys):
    assert main(["metrics", "query", "--token", "a", "up"]) == 1
    assert "--token: is of a Prometheus; give --prometheus-url too" in capsys.readouterr().err


def test_its_certificate_is_checked_unless_told_otherwise(tmp_path, capsys):
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    (tmp_path / "other.crt").write_bytes(Authority().certificate)
    context = server_context(authority.server(["127.0.0.1"]))
    context.set_alpn_protocols(["http/1.1"])
    with served(threading.Event(), context) as url:
        assert asked_with(url, "--ca-file", str(tmp_path / "ca.crt")) == 0
        assert asked_with(url, "--skip-tls-verify") == 0
        assert capsys.readouterr().err == ""
        for flags in ((), ("--ca-file", str(tmp_path / "other.crt"))):
            assert asked_with(url, *flags) == 1
            captured = capsys.readouterr()
            assert "its certificate is not trusted" in captured.err
            assert len(captured.err.splitlines()) == 1


def test_tls_where_there_is_none_is_one_line(capsys):
    with served(threading.Event()) as url:
        assert asked_with(url.replace("http:", "https:")) == 1
    captured = capsys.readouterr().err
    assert "TLS fails" in captured
    assert len(captured.splitlines()) == 1


def test_what_it_says_cannot_write_over_the_terminal(capsys):
    with served(threading.Event()) as url:
        assert asked_with(url + "/hostile") == 0
    assert capsys.readouterr().out == '{a="?[31m"} 2\n'
