import json

import pytest

from kubedyno.cli.main import main
from kubedyno.kube import yaml
from kubedyno.lab import grafana
from kubedyno.promql.dashboards import DASHBOARDS
from kubedyno.promql.language import parsed


def test_dashboards_are_exported_with_what_provisions_them(tmp_path, capsys):
    assert main(["dashboards", "export", "--dir", str(tmp_path / "d"), "--url", "http://127.0.0.1:30001"]) == 0
    out = capsys.readouterr()
    files = {str(path.relative_to(tmp_path / "d")) for path in (tmp_path / "d").rglob("*") if path.is_file()}
    assert files == {
        *(f"{board.uid}.json" for board in DASHBOARDS),
        "provisioning/datasources/kubedyno.yaml",
        "provisioning/dashboards/kubedyno.yaml",
    }
    assert len(out.out.splitlines()) == len(files)
    source = yaml.load((tmp_path / "d/provisioning/datasources/kubedyno.yaml").read_text(), "x")["datasources"][0]
    assert (source["type"], source["url"]) == ("prometheus", "http://127.0.0.1:30001")
    provider = yaml.load((tmp_path / "d/provisioning/dashboards/kubedyno.yaml").read_text(), "x")["providers"][0]
    assert provider["options"]["path"] == str(tmp_path / "d")


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_grafana_s_json_has_every_panel_and_its_queries_are_promql(board, tmp_path):
    grafana.export(tmp_path, "http://127.0.0.1:9090", "Asia/Seoul")
    document = json.loads((tmp_path / f"{board.uid}.json").read_text())
    assert (document["uid"], document["timezone"]) == (board.uid, "Asia/Seoul")
    assert [panel["title"] for panel in document["panels"]] == [panel.title for panel in board.panels]
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in document["panels"]}
    assert len(places) == len(board.panels)
    sources = {variable["name"] for variable in document["templating"]["list"]}
    for panel in document["panels"]:
        for target in panel["targets"]:
            parsed(target["expr"])
            assert target["datasource"]["uid"].strip("${}") in sources


def test_the_list_says_what_is_not_there(capsys):
    assert main(["dashboards", "list"]) == 0
    out = capsys.readouterr().out
    assert all(board.uid in out for board in DASHBOARDS)
    assert "the embedded cluster does not have them" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--url", "127.0.0.1:9090"], "is no URL"), (["--timezone", "Nowhere/At"], "no such time zone")],
)
def test_a_wrong_flag_is_one_line(words, said, tmp_path, capsys):
    assert main(["dashboards", "export", "--dir", str(tmp_path), *words]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["dashboards", "export", "--dir", str(tmp_path / "file" / "d")]) == 1
    assert "cannot be made" in capsys.readouterr().err
