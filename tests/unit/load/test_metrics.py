"""Metric profiles and alerts against a Prometheus, stored by every indexer; tarballs out and in."""

import json
import math
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.cli.main import main
from kubedyno.documents import openmetrics, tarball
from kubedyno.documents.local import LocalIndexer
from kubedyno.documents.openmetrics import OpenMetricsIndexer
from kubedyno.documents.opensearch import OpenSearchIndexer
from kubedyno.load.metrics.profiles import AlertRule, MetricQuery, described
from kubedyno.load.metrics.prometheus import CONCURRENCY, Login, Prometheus, QueryError
from kubedyno.load.metrics.scrape import Window, scrape
from ports import refusing_port
from searchserver import SearchServer

UP = [{"metric": {"__name__": "up", "job": "a"}, "values": [[1000, "1"], [1030, "NaN"]]}]


class Server:
    """A Prometheus of a few answers; keeps what it was asked."""

    def __init__(self):
        self.asked = []
        self.now = self.most = 0
        self.gate = threading.Barrier(2, timeout=60)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                values = dict(urllib.parse.parse_qsl(body))
                outer.asked.append((self.path, values, self.headers.get("Authorization")))
                status, answer = outer.answer(self.path, values)
                raw = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def do_GET(self):
                raw = outer.files[self.path].encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_):
                pass

        self.files = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, path, values):
        query = values["query"]
        if query == "broken(":
            return 400, {"status": "error", "errorType": "bad_data", "error": "parse error"}
        if query.startswith("both"):
            # Answered only when two queries are under way at once.
            self.gate.wait()
        if query == "none":
            return 200, {"status": "success", "data": {"resultType": "vector", "result": []}}
        if path.endswith("query_range"):
            return 200, {"status": "success", "data": {"resultType": "matrix", "result": UP}}
        result = [{"metric": {"job": "a"}, "value": [float(values.get("time", 0)), "7"]}]
        return 200, {"status": "success", "data": {"resultType": "vector", "result": result}}

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def documents(path):
    return json.loads(path.read_text())


def test_index_stores_ranges_their_last_state_and_instants(server, folder):
    (folder / "m.yml").write_text(
        "- {query: 'rate(up[{{.elapsed}}])', metricName: upRate}\n"
        "- {query: up, metricName: upNow, instant: true, captureStart: true}\n"
        "- {query: none, metricName: nothing}\n"
        "- {query: 'broken(', metricName: broken}\n"
    )
    code = main(
        ["index", "-u", server.url, "-m", "m.yml", "-t", "secret", "--start", "1000", "--end", "1045", "--uuid", "u1",
         "--tarball-name", "out.tgz", "--skip-log-file"]
    )  # fmt: skip
    assert code == 0
    made = documents(folder / "collected-metrics-u1" / "upRate.json")
    # 45 s are no whole number of steps: the end is asked for by itself.
    assert [d["value"] for d in made] == [1.0, 0.0, 7.0]
    assert made[0] == {
        "timestamp": "1970-01-01T00:16:40Z",
        "labels": {"job": "a"},
        "value": 1.0,
        "uuid": "u1",
        "query": "rate(up[45s])",
        "metricName": "upRate",
        "jobName": "kube-burner-indexing",
    }
    assert documents(folder / "collected-metrics-u1" / "upNow-start.json")[0]["metricName"] == "upNow-start"
    assert not (folder / "collected-metrics-u1" / "nothing.json").exists()
    assert {authorization for _, _, authorization in server.asked} == {"Bearer secret"}
    assert main(["import", "--tarball", "out.tgz", "--metrics-directory", "again"]) == 0
    assert documents(folder / "again" / "upRate.json") == made


@pytest.mark.parametrize(("severity", "code"), [("warning", 0), ("info", 0), ("error", 1), ("critical", 3)])
def test_alerts_are_told_stored_and_end_with_their_severitys_code(server, folder, severity, code):
    (folder / "a.yml").write_text(
        f"- {{expr: 'up[{{{{.elapsed}}}}]', description: 'job {{{{$labels.job}}}} at {{{{$value}}}}', severity: {severity}}}\n"
    )
    found = main(
        ["check-alerts", "-u", server.url, "-a", "a.yml", "--start", "1000", "--end", "1020", "--username", "me",
         "-p", "pw", "--metrics-directory", "d"]
    )  # fmt: skip
    assert found == code
    (alert,) = documents(folder / "d" / "alert.json")
    assert (alert["description"], alert["severity"], alert["metricName"]) == ("job a at 1", severity, "alert")
    # Twenty seconds are asked for as a minute: a range of none would be no query.
    assert server.asked[-1][1]["query"] == "up[1m]"
    assert server.asked[-1][2] == "Basic bWU6cHc="


def test_a_value_in_an_alerts_text_has_at_most_three_decimals_halves_away_from_zero():
    rule = AlertRule("up", "{{$value}} {{$labels.job}}", "info")
    for value, text in ((1.0, "1"), (0.0005, "0.001"), (-1.23456, "-1.235"), (2e9, "2e+09"), (math.nan, "NaN")):
        assert described(rule, {"job": "a"}, value) == f"{text} a"


def test_queries_are_under_way_at_once(server):
    async def both():
        async with Prometheus(Login(server.url)) as one:
            import asyncio

            return await asyncio.gather(*(one.instant(f"both{n}", 5) for n in range(4)))

    assert [list(found[0]) for found in aio.run(both())] == [[(5.0, 7.0)]] * 4


def test_what_is_no_prometheus_is_one_clear_line(server, folder):
    async def ask(url):
        async with Prometheus(Login(url)) as one:
            await one.check()

    with refusing_port() as port, pytest.raises(QueryError, match=rf"127\.0\.0\.1:{port}"):
        aio.run(ask(f"http://127.0.0.1:{port}"))
    with pytest.raises(KubedynoError, match="is no URL"):
        Prometheus(Login("localhost"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1", "must be a list"),
        ("- {query: up}", "line 1: needs query and metricName"),
        ("- {query: up, metricName: a}\n- {query: up, metric: b}", "line 2: field metric not found"),
    ],
)
def test_a_wrong_profile_names_file_and_line(server, folder, capsys, text, said):
    (folder / "m.yml").write_text(text)
    assert main(["index", "-u", server.url, "-m", "m.yml", "--skip-log-file"]) == 1
    assert said in capsys.readouterr().err


def test_configurations_profiles_and_templates_come_from_urls(server, folder):
    server.files["/m.yml"] = "- {query: up, metricName: fromUrl, instant: true}"
    assert main(["index", "-u", server.url, "-m", f"{server.url}/m.yml", "--uuid", "u2", "--skip-log-file"]) == 0
    assert documents(folder / "collected-metrics-u2" / "fromUrl.json")


def test_open_metrics_holds_each_number_of_a_document_as_a_sample(tmp_path):
    indexer = OpenMetricsIndexer(tmp_path)
    indexer.write(
        "q", [{"timestamp": "1970-01-01T00:00:02.5Z", "labels": {"a": 'x"y'}, "value": 3, "metricName": "m-1"}]
    )
    indexer.write("p", [{"timestamp": "1970-01-01T00:00:01Z", "P99": 5, "max": 6, "podName": "p", "ok": True}])
    indexer.close()
    assert (tmp_path / "metrics.om").read_text() == (
        '# TYPE m_1 gauge\nm_1{a="x\\"y"} 3.0 2.500\n'
        '# TYPE p gauge\np{field="P99",podName="p"} 5.0 1.000\np{field="max",podName="p"} 6.0 1.000\n# EOF\n'
    )


def test_open_metrics_keeps_a_bounded_number_of_samples_and_the_last_of_equal_ones(tmp_path, monkeypatch):
    def one(number, value, second):
        return {"timestamp": f"1970-01-01T00:00:{second:02}Z", "labels": {"n": str(number)}, "value": value}

    def whole(kept):
        monkeypatch.setattr(openmetrics, "ROWS_KEPT", kept)
        monkeypatch.setattr(openmetrics, "FILES_MERGED", 2)
        folder = tmp_path / str(kept)
        indexer = OpenMetricsIndexer(folder)
        for value in (1, 2):
            indexer.write("b", [one(number, value, second) for second in (9, 10) for number in range(20)])
            indexer.write("a", [one("x\ny", value, 5)])
            assert len(indexer._rows) < kept
            assert all(len(files) < 2 for files in indexer._sorted)
        assert indexer.close() == f"File {folder / 'metrics.om'} contains 21 series"
        # What is known only after the end comes after it: the whole is written again.
        indexer.write("c", [one(0, 0.5, 59)])
        indexer.close()
        assert [path.name for path in folder.iterdir()] == ["metrics.om"]
        return (folder / "metrics.om").read_text()

    text = whole(7)
    assert text == whole(2)
    assert text == whole(1000)
    assert text.startswith(
        '# TYPE a gauge\na{n="x\\ny"} 2.0 5.000\n# TYPE b gauge\nb{n="0"} 2.0 9.000\nb{n="0"} 2.0 10.000\n'
    )
    assert text.endswith('# TYPE c gauge\nc{n="0"} 0.5 59.000\n# EOF\n')


def test_metrics_are_asked_for_only_so_far_ahead_of_what_is_stored(server):
    window = Window("j", 1000, 1030, "u")
    queries = [MetricQuery(f"q{n}", f"m{n}", instant=True) for n in range(40)]

    async def walk():
        async with Prometheus(Login(server.url)) as one:
            ahead, names = 0, []
            async for found in scrape(one, queries, window, {}):
                names.append(found.metric)
                assert [d["value"] for d in found.documents] == [d["value"] for d in found.documents] == [7]
                ahead = max(ahead, len(server.asked) - len(names))
            return ahead, names

    ahead, names = aio.run(walk())
    assert names == [f"m{n}" for n in range(40)]
    assert ahead <= CONCURRENCY


def test_a_tarball_holds_files_by_names_relative_to_the_directory(tmp_path):
    LocalIndexer(tmp_path / "d").index("a", [{"x": 1}])
    tarball.create(tmp_path / "d", tmp_path / "t.tgz")
    assert list(tarball.documents(tmp_path / "t.tgz")) == [("a", [{"x": 1}])]
    (tmp_path / "d" / "b.json").write_text("{}")
    tarball.create(tmp_path / "d", tmp_path / "t.tgz")
    with pytest.raises(KubedynoError, match=r"b\.json is no JSON list"):
        list(tarball.documents(tmp_path / "t.tgz"))
    (tmp_path / "t.tgz").write_bytes(b"no tar")
    with pytest.raises(KubedynoError, match="cannot be read"):
        list(tarball.documents(tmp_path / "t.tgz"))


def test_without_its_package_the_opensearch_indexer_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "opensearchpy", None)
    with pytest.raises(KubedynoError, match="pip install opensearch-py"):
        OpenSearchIndexer(["http://127.0.0.1:9"], "i", insecure=True)


def test_opensearch_gets_each_document_once():
    pytest.importorskip("opensearchpy", reason="opensearch-py is an extra")
    server = SearchServer(absent=["my-index"])
    with server.serving() as url:
        indexer = OpenSearchIndexer([url], "My-Index", insecure=True)
        assert not server.absent
        line = indexer.write("m", [{"a": 1}, {"a": 2}, {"a": 1}])
        assert line.endswith("created=2 redundantskipped=1")
        assert "updated=1" in indexer.write("m", [{"a": 1}])
        assert sorted(d["a"] for d in server.documents.values()) == [1, 2]
        assert all(len(key) == 64 for key in server.documents)
        indexer.close()
