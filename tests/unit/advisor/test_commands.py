"""The commands as a user types them: output, exit codes, and one line for bad input."""

import json
from pathlib import Path

import pytest

from kubedyno.advisor import maps, mapsfacts
from kubedyno.cli.main import main
from kubedyno.kube import yaml

GOLDEN = Path(__file__).parents[2] / "golden" / "advisor"


def test_the_advice_for_the_studys_lab(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    code = main(["advise", "--cilium-command", "cilium-install.txt", "--kind-config", "kind-cilium.yaml", "--all"])
    assert capsys.readouterr().out == (GOLDEN / "study-advice.txt").read_text()
    # One node: pods of other nodes cannot be masqueraded.
    assert code == 0


def test_without_the_number_of_nodes_the_cidr_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    code = main(["advise", "--cilium-command", str(GOLDEN / "cilium-install.txt"), "--overlay", str(overlay)])
    assert code == 2
    assert "does not cover the pod CIDR 10.244.0.0/16" in capsys.readouterr().out
    assert yaml.load(overlay.read_text())["ipv4NativeRoutingCIDR"] == "10.244.0.0/16"


def test_maps_of_the_studys_node_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["maps", "--memory", "16791707648", "--cpus", "4", "-o", "json"]) == 0
    found = {row["name"]: row["entries"] for row in json.loads(capsys.readouterr().out)["maps"]}
    assert (found["TCP connection tracking"], found["NAT"], found["Sock reverse NAT"]) == (147_295, 147_295, 73_647)


@pytest.mark.parametrize("output", ["json", "yaml", "kyaml"])
def test_every_output_says_the_same(capsys: pytest.CaptureFixture[str], output: str) -> None:
    assert main(["maps", "--table", "-o", output]) == 0
    assert len(yaml.load(capsys.readouterr().out)["documented"]) == len(maps.DOCUMENTED)


def test_a_picture_is_written(tmp_path: Path) -> None:
    path = tmp_path / "maps.svg"
    assert main(["maps", "--memory", "16Gi", "--cpus", "1", "--plot", str(path)]) == 0
    assert path.read_text().startswith("<svg ")


def test_the_pressure_of_maps_is_graded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "metrics"
    page.write_text(
        '# TYPE cilium_bpf_map_pressure gauge\ncilium_bpf_map_pressure{map_name="lb4_services_v2"} 1.44\n'
        'cilium_bpf_map_pressure{map_name="ct4_global"} 0.71\ncilium_bpf_map_pressure{map_name="nat"} 0.2\n'
    )
    assert main(["maps", "--memory", "16Gi", "--cpus", "1", "--metrics", str(page), "-o", "json"]) == 0
    found = [(one["map"], one["grade"]) for one in json.loads(capsys.readouterr().out)["pressure"]]
    assert found == [("lb4_services_v2", "full"), ("ct4_global", "warning"), ("nat", "ok")]


def test_of_several_agents_the_fullest_counts() -> None:
    page = 'cilium_bpf_map_pressure{map_name="nat"} '
    assert mapsfacts.pressures_of([("a", f"{page}0.2\n"), ("b", f"{page}0.9\n")]) == (("nat", 0.9, "b"),)


def test_files_are_migrated_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deep" / "e.yaml"
    file.parent.mkdir()
    file.write_text((GOLDEN / "endpoints.yaml").read_text())
    assert main(["migrate", "endpoints", "--find", str(tmp_path)]) == 2
    assert "Endpoints myservice" in capsys.readouterr().out
    assert main(["migrate", "endpoints", "--write", str(tmp_path)]) == 0
    assert file.read_text() == (GOLDEN / "endpointslice.yaml").read_text()
    assert main(["migrate", "endpoints", "--find", str(tmp_path)]) == 0


def test_one_file_that_cannot_be_converted_does_not_hold_up_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, wrong = (tmp_path / name for name in ("b.yaml", "a.yaml", "c.yaml"))
    good.write_text((GOLDEN / "endpoints.yaml").read_text())
    bad.write_text("{{ template }}: [Endpoints\n")
    wrong.write_text("{apiVersion: v1, kind: Endpoints, metadata: {name: x}, subsets: [{addresses: [{ip: a.b}]}]}\n")
    before = bad.read_text(), wrong.read_text()
    assert main(["migrate", "endpoints", "--write", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert f"kubedyno: {wrong}:1: Endpoints x: subsets[0].addresses: 'a.b' is no address" in said
    assert said.endswith("1 Endpoints became 1 EndpointSlices; 2 files could not be converted\n")
    assert good.read_text() == (GOLDEN / "endpointslice.yaml").read_text()
    assert (bad.read_text(), wrong.read_text()) == before


def test_a_json_file_stays_json(tmp_path: Path) -> None:
    file = tmp_path / "e.json"
    both = [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}]}]
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "x"}, "subsets": both}))
    assert main(["migrate", "endpoints", "--write", str(file)]) == 0
    found = json.loads(file.read_text())
    assert (found["kind"], [one["addressType"] for one in found["items"]]) == ("List", ["IPv4", "IPv6"])


@pytest.mark.parametrize("output", ["yaml", "kyaml", "json"])
def test_what_is_migrated_is_printed_in_the_form_asked_for(
    output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text((GOLDEN / "endpoints.yaml").read_text())
    assert main(["migrate", "endpoints", "-o", output, str(tmp_path)]) == 0
    out = capsys.readouterr().out
    expected = yaml.load((GOLDEN / "endpointslice.yaml").read_text())
    if output == "json":
        assert [json.loads(part) for part in out.replace("}\n{", "}\n\0{").split("\0")] == [expected] * 2
    else:
        assert list(yaml.load_all(out)) == [expected] * 2
        assert out.startswith("---\n{") is (output == "kyaml")


def test_kyaml_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("# why\na:\n  - 1 # one\n")
    assert main(["kyaml", str(file)]) == 0
    there = capsys.readouterr().out
    assert there == "---\n{\n  # why\n  a: [\n    1, # one\n  ],\n}\n"
    file.write_text(there)
    assert main(["kyaml", "--to", "yaml", str(file)]) == 0
    assert capsys.readouterr().out == "# why\na:\n  - 1 # one\n"


def test_features_of_a_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "--target", "1.34"]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if "HPAConfigurableTolerance" in line)
    assert line.split()[-3:] == ["alpha", "off", "1.33"]


def test_the_probe_prints_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "-o", "json"]) == 0
    assert any(fact["name"] == "BPF JIT" for fact in json.loads(capsys.readouterr().out)["facts"])


@pytest.mark.parametrize(
    "words",
    [
        ["advise"],
        ["advise", "--cilium-values", "/nowhere"],
        ["advise", "--cilium-command", "{file}", "--pod-cidr", "x"],
        ["advise", "--cilium-command", "{file}", "--kernel", "new"],
        ["kyaml", "/nowhere"],
        ["kyaml", "--to", "yaml", "--compact", "{file}"],
        ["maps", "--memory", "x"],
        ["maps", "--memory", "1Gi", "--cpus", "0"],
        ["maps", "--memory", "1Gi", "--ratio", "2"],
        ["maps", "--memory", "1Gi", "--set", "a"],
        ["maps", "--memory", "1Gi", "--connections", "99999999"],
        ["maps", "--memory", "1Gi", "--status", "{file}"],
        ["maps", "--metrics", "{file}"],
        ["probe", "--cluster"],
        ["probe", "--cluster", "--timeout", "x"],
        ["migrate", "endpoints"],
        ["migrate", "endpoints", "/nowhere"],
        ["migrate", "endpoints", "--write", "-o", "kyaml", "{file}"],
        ["migrate", "endpoints", "--max-endpoints", "1001", "{file}"],
        ["migrate", "endpoints", "--audit-log", "{file}", "{file}"],
        ["features", "--target", "0.1"],
        ["features", "--try-fields"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # No cluster is found by accident.
    monkeypatch.delenv("KUBECONFIG", raising=False)
    for name in ("HOME", "KUBEDYNO_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    file = str(GOLDEN / "cilium-install.txt")
    assert main([word.format(file=file) for word in words]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kubedyno: ")
    assert captured.err.count("\n") == 1
