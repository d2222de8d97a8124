"""A net lab's ratios as expected effects: which rows count, what is said of the kernel, and what is left as it was."""

from pathlib import Path

import msgspec
import pytest

from kubedyno.advisor import advice, labfigures
from kubedyno.advisor.ciliumvalues import Values, nested
from kubedyno.advisor.hostfacts import Host
from kubedyno.advisor.tuning import Advice, Setup
from kubedyno.base.errors import KubedynoError
from kubedyno.cli.main import main
from kubedyno.documents.net import NetLabRun, Proof, Round, Row

KERNEL = "6.18.44-test"


def row(variant: str, test: str, figure: str, values: list[float], **more: object) -> Row:
    held = [Proof("eBPF", held=True, counters={})]
    told: dict[str, object] = {"place": "other-node", "family": 4, "mtu": 1500, **more}
    rounds = [Round(number, {figure: value}, held) for number, value in enumerate(values)]
    return Row(
        "u", "t", variant.partition(" ")[0], variant, str(told["place"]), int(str(told["family"])), int(str(told["mtu"])), 65_536,
        test, "kubedyno", "", rounds, {}, {},
    )  # fmt: skip


def lab(*rows: Row) -> NetLabRun:
    return NetLabRun("u", "0", KERNEL, {}, "2026-01-01T00:00:00Z", "", list(rows), {}, [], [], [])


def found(rule: str, kernel: str | None = KERNEL) -> list[Advice]:
    values = {
        "kubeProxyReplacement": True, "bpf.masquerade": True, "routingMode": "native", "bandwidthManager.enabled": True,
        **({"bpf.hostLegacyRouting": True} if rule == "host-routing" else {}),
    }  # fmt: skip
    return advice.findings(Setup(Values(nested(values)), Host(kernel=kernel, mtus=(("eth0", 1500),))))


def effect(rule: str, run: NetLabRun, kernel: str | None = KERNEL) -> Advice:
    return next(one for one in labfigures.with_figures(found(rule, kernel), run, kernel) if one.rule == rule)


def test_the_labs_paired_ratio_is_the_expected_effect() -> None:
    run = lab(
        row("route-nft", "tcp-rr", "p50_us", [20.0] * 6, place="same-node"),
        row("ebpf", "tcp-rr", "p50_us", [14.0, 15.0, 16.0, 15.0, 15.0, 15.0], place="same-node"),
    )
    said = effect("host-routing", run)
    assert said.effect == "round trips of 1 byte (P50) x0.75 [0.70-0.80] on one node"
    assert said.effect_source.startswith(f"measured by kubedyno net lab on this kernel ({KERNEL}), 6 paired rounds")


def test_few_rounds_are_said_to_be_unresolved_and_another_kernel_is_named() -> None:
    run = lab(
        row("ebpf", "tcp", "bps", [10.0, 10.0]),
        row("ebpf big-tcp-192k", "tcp", "bps", [15.0, 16.0]),
    )
    said = effect("ipv4-big-tcp", run, "6.8.0")
    assert said.effect == "bulk throughput x1.55 [1.50-1.60, not resolved] between nodes"
    assert f"another kernel than the nodes' ({KERNEL})" in said.effect_source


def test_rounds_that_failed_or_took_another_way_do_not_count() -> None:
    theirs = row("ebpf", "tcp", "bps", [10.0] * 6)
    ours = row("ebpf big-tcp-192k", "tcp", "bps", [15.0] * 4 + [99.0, 99.0])
    bad = [
        msgspec.structs.replace(ours.rounds[4], error="no answer"),
        msgspec.structs.replace(ours.rounds[5], proofs=[Proof("BIG TCP", held=False, counters={})]),
    ]
    run = lab(theirs, msgspec.structs.replace(ours, rounds=[*ours.rounds[:4], *bad]))
    assert effect("ipv4-big-tcp", run).effect.startswith("bulk throughput x1.50 [1.50-1.50")


def test_families_tests_and_mtus_are_compared_with_their_own() -> None:
    run = lab(
        row("ebpf", "tcp", "bps", [10.0] * 6, family=6),
        row("ebpf big-tcp-192k", "tcp", "bps", [99.0] * 6, family=6),
        row("ebpf", "tcp", "bps", [10.0] * 6),
        row("ebpf", "tcp-bbr", "bps", [4.0] * 6),
        row("ebpf", "tcp", "bps", [12.0] * 6, mtu=9000),
    )
    assert "x1.51 [1.38-1.63]" in effect("ipv4-big-tcp", run).effect  # the shipped one: IPv4 was not measured
    assert effect("bbr", run).effect.startswith("bulk throughput within one machine x0.40")
    assert effect("mtu", run).effect.startswith("bulk throughput x1.20")


def test_what_the_lab_has_not_measured_stays() -> None:
    before = found("host-routing")
    assert labfigures.with_figures(before, lab(), KERNEL) == before


@pytest.mark.parametrize(
    ("text", "said"), [(None, "no kubedynoNetLab.json"), ("x", "cannot be read"), ("[]", "no run")]
)
def test_what_is_no_labs_document_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "kubedynoNetLab.json").write_text(text)
    with pytest.raises(KubedynoError, match=said):
        labfigures.read(tmp_path)


def test_the_command_takes_a_labs_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = lab(
        row("route-nft", "tcp-rr", "p50_us", [20.0] * 6),
        row("ebpf", "tcp-rr", "p50_us", [10.0] * 6),
    )
    (tmp_path / "kubedynoNetLab.json").write_bytes(msgspec.json.encode([run]))
    values = tmp_path / "values.yaml"
    values.write_text("{bpf: {hostLegacyRouting: true}, kubeProxyReplacement: true, routingMode: tunnel}\n")
    main(["advise", "--cilium-values", str(values), "--kernel", KERNEL, "--net", str(tmp_path)])
    assert (
        f"x0.50 [0.50-0.50] between nodes (measured by kubedyno net lab on this kernel ({KERNEL})"
        in capsys.readouterr().out
    )
