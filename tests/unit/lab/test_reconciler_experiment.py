"""The reconciler experiment: on a modelled map in simulated time, and on the kernel's own as root."""

import asyncio
import errno
import os
from dataclasses import replace

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.base.simulation import simulate
from kubedyno.cli.main import main
from kubedyno.documents.reconciler import FILE_NAME
from kubedyno.kernel.bpf import Map, MapType
from kubedyno.lab.experiments import reconciler, servicemap
from kubedyno.lab.experiments.reconciler import REPORT_NAME, Request, experiment
from kubedyno.lab.experiments.servicemap import ModelMap, Service, ServiceMap, key_of
from kubedyno.reconciler.status import pending
from kubedyno.report import reconciler as report
from kubedyno.statedb.records import Record


def _why_no_map():
    try:
        Map(MapType.HASH, 4, 4, 1).close()
    except OSError as error:
        return f"no BPF map can be made here: {error}"
    return ""


WHY_NO_MAP = _why_no_map()
kernel = pytest.mark.skipif(bool(WHY_NO_MAP), reason=WHY_NO_MAP)


def modelled(**changes):
    async def go():
        return await experiment(Request(model=True, **changes), asyncio.get_running_loop())

    return simulate(go())


def record(number, *backends):
    service = Service(number, backends, pending(0.0))
    return Record(service.key, service, 1, None)


@pytest.fixture(params=["model", pytest.param("kernel", marks=kernel)])
def rows(request):
    made, why = servicemap.open_map(6, model=request.param == "model")
    assert bool(why) == (request.param == "model")
    yield made
    made.close()


def places(rows):
    return sorted(servicemap.place_of(key) for key in rows.keys())  # noqa: SIM118


def test_the_whole_story_on_a_model():
    run = modelled(map_size=400, services=150, backends=3)
    half, full, healed = run.phases
    assert run.checks
    assert all(run.checks.values()), run.checks
    assert (half.services, half.rows, half.failing, half.drops) == (50, 200, 0, 0)
    # 400 rows hold 100 services of 4; 50 find no room.
    assert (full.wanted_rows, full.rows, full.done, full.failing, full.pressure) == (600, 400, 100, 50, 1.5)
    assert full.error == "[Errno 7] update map: E2BIG Argument list too long"
    assert full.health.startswith("Degraded: 50 error(s): default/service-000100: [Errno 7]")
    assert 0.25 < full.drops / full.probes < 0.42
    assert (healed.services, healed.done, healed.failing, healed.drops, healed.torn) == (94, 94, 0, 0, 0)
    assert healed.rows == healed.wanted_rows == 376
    assert run.kernel == ""
    assert any(sample.degraded for sample in run.samples)
    assert not run.samples[-1].degraded


def test_without_an_overflow_it_says_so():
    run = modelled(map_size=400, services=50)
    assert all(run.checks.values())
    assert "E2BIG" not in " ".join(run.checks)
    assert any("never was too small" in line for line in report.lines(run))


@pytest.mark.slow
@kernel
def test_the_whole_story_on_the_kernels_map(tmp_path, capsys):
    arguments = ["--map-size", "300", "--services", "120", "--directory", str(tmp_path)]
    assert main(["experiment", "reconciler", *arguments]) == 0
    out = capsys.readouterr().out
    assert "in this kernel" in out
    assert "NOT SHOWN" not in out
    assert out.count("\nshown: ") == 7
    page = (tmp_path / REPORT_NAME).read_text()
    assert page.count("<svg") == 3
    assert "E2BIG" in page
    assert (tmp_path / FILE_NAME).stat().st_size > 1000


def test_a_process_that_may_not_gets_a_model_and_is_told(monkeypatch, tmp_path, capsys):
    def refuse(*_args):
        raise PermissionError(errno.EPERM, "create map: EPERM Operation not permitted")

    monkeypatch.setattr(servicemap, "Map", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(reconciler, "EVERY_S", 0.001)
    arguments = ["--map-size", "40", "--services", "20", "--directory", str(tmp_path)]
    assert main(["experiment", "reconciler", *arguments]) == 0
    out = capsys.readouterr().out
    assert out.startswith("MODELLED BPF hash map of 40 entries, not the kernel's: this process may make no BPF map")
    assert "BPF wants root or CAP_BPF" in out
    assert "The map is modelled" in (tmp_path / REPORT_NAME).read_text()


def test_a_size_that_the_kernel_refuses_is_no_reason_for_a_model(monkeypatch):
    def refuse(*_args):
        raise OSError(errno.E2BIG, "create map: E2BIG")

    monkeypatch.setattr(servicemap, "Map", refuse)

    async def go():
        await experiment(Request(), asyncio.get_running_loop())

    with pytest.raises(KubedynoError, match="--map-size 4096: the kernel refuses such a map"):
        simulate(go())


@pytest.mark.parametrize("flags", [{"map_size": 0}, {"services": 0}, {"backends": 65}, {"map_size": 1 << 21}])
def test_numbers_out_of_bounds_are_refused(flags):
    with pytest.raises(KubedynoError, match=r"write a number from 1 to"):
        Request(**flags)


def test_a_service_is_written_whole_or_not_at_all(rows):
    target = ServiceMap(rows)
    target.update(None, record(1, 11, 12, 13))
    with pytest.raises(OSError, match="E2BIG") as caught:
        target.update(None, record(2, 21, 22, 23))
    assert caught.value.errno == errno.E2BIG
    assert places(rows) == [(1, 0), (1, 1), (1, 2), (1, 3)]
    target.update(None, record(2, 21))
    assert target.torn([record(1, 11, 12, 13).obj, record(2, 21).obj]) == 0
    assert target.held == target.count() == 6


def test_a_service_that_grows_past_the_map_keeps_all_its_old_rows(rows):
    target = ServiceMap(rows)
    target.update(None, record(1, 11, 12, 13))
    before = {key: rows.lookup(key) for key in rows.keys()}  # noqa: SIM118
    with pytest.raises(OSError, match="E2BIG"):
        target.update(None, record(1, 91, 92, 93, 94, 95, 96))
    assert {key: rows.lookup(key) for key in rows.keys()} == before  # noqa: SIM118
    assert target.held == 4


def test_a_service_that_shrinks_leaves_nothing_behind(rows):
    target = ServiceMap(rows)
    target.update(None, record(1, 11, 12, 13))
    target.update(None, record(1, 11))
    assert places(rows) == [(1, 0), (1, 1)]
    target.delete(None, record(1))
    assert places(rows) == []
    assert target.held == 0


def test_prune_removes_strays_and_surplus_slots(rows):
    target = ServiceMap(rows)
    target.update(None, record(1, 11))
    rows.update(key_of(1, 2), b"\0" * servicemap.VALUE_BYTES)
    rows.update(key_of(9, 0), b"\0" * servicemap.VALUE_BYTES)
    assert target.torn([record(1, 11).obj]) == 2
    target.prune(None, [record(1, 11)])
    assert places(rows) == [(1, 0), (1, 1)]


def test_a_lookup_finds_only_backends_that_are_there(rows):
    target = ServiceMap(rows)
    target.update(None, record(1, 11, 12))
    assert all(target.finds_backend(1, choice) for choice in range(4))
    assert not target.finds_backend(2, 0)
    rows.delete(key_of(1, 2))
    assert [target.finds_backend(1, choice) for choice in range(2)] == [True, False]
    target.update(None, record(3))
    assert not target.finds_backend(3, 0)


def test_a_check_that_does_not_hold_is_told():
    run = modelled(map_size=40, services=20, backends=3)
    full = replace_struct(run.phases[1], drops=0)
    checks = reconciler._checks([run.phases[0], full, run.phases[2]], 40)
    assert not checks['lookups drop: "Service backend not found"']
    broken = replace_struct(run, checks=checks)
    assert any(line.startswith("NOT SHOWN: lookups drop") for line in report.lines(broken))


def replace_struct(value, **changes):
    import msgspec

    return msgspec.structs.replace(value, **changes)


def test_the_model_refuses_as_the_kernel_does():
    if WHY_NO_MAP:
        pytest.skip(WHY_NO_MAP)
    size = [servicemap.KEY_BYTES, servicemap.VALUE_BYTES, 2]
    said = []
    for made in (Map(MapType.HASH, *size), ModelMap(2)):
        for i in (0, 1, 1):
            made.update(key_of(i, 0), b"\1" * servicemap.VALUE_BYTES)
        with pytest.raises(OSError) as caught:  # noqa: PT011 - compared below
            made.update(key_of(2, 0), b"\1" * servicemap.VALUE_BYTES)
        said.append((caught.value.errno, str(caught.value), made.delete(key_of(0, 0)), made.delete(key_of(0, 0))))
        made.close()
    assert said[0] == said[1]


def test_a_service_keeps_its_key_when_its_status_changes():
    service = Service(7, (1,), pending(0.0))
    assert replace(service, status=pending(1.0)).key == service.key == "default/service-000007"
