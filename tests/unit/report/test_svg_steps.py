"""Step lines over time."""

import re

import pytest

from kubedyno.report import svg


def points(picture):
    return [tuple(map(float, point.split(","))) for point in re.search(r'points="([^"]+)"', picture)[1].split()]


def test_values_may_be_closer_than_a_second():
    picture = svg.steps("t", "1/s", {"a": [0.0, 1.0, 0.5, 0.0] * 10}, every_s=0.05)
    seconds = re.findall(r">([\d.]+) s<", picture)
    assert seconds[0] == "0"
    assert float(seconds[-1]) == 2
    line = points(picture)
    assert len(line) == 80
    assert line[0][0] == svg._LEFT
    assert line[-1][0] == svg.WIDTH - svg._RIGHT
    assert line == sorted(line, key=lambda point: point[0])


def test_by_default_a_value_is_a_second():
    line = points(svg.steps("t", "", {"a": [1.0, 2.0]}))
    assert [x for x, _ in line] == [svg._LEFT, 402.0, 402.0, svg.WIDTH - svg._RIGHT]


def test_points_that_have_nothing_between_them_are_not_joined():
    series = {"P50": [(0.0, 1.0), (1.0, 1.0), (50.0, 2.0), (51.0, 2.0), (90.0, 1.0)]}
    ends = [(0.0, "0 s"), (90.0, "90 s")]
    assert svg.curve("t", "ms", series, ends, gap=4).count("<polyline") == 3
    assert svg.curve("t", "ms", series, ends).count("<polyline") == 1


def test_the_last_mark_of_an_axis_is_whole_and_the_unit_is_beside_no_number():
    picture = svg.curve("t", "ms", {"a": [(0.0, 50_000.0), (57.2, 1.0)]}, [(0.0, "0 s"), (57.2, "57.2 s")])
    assert re.search(r'text-anchor="end">57.2 s<', picture)
    (unit,) = re.findall(r'y="([\d.]+)"[^>]*>ms<', picture)
    highest = min(float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="end">\d', picture))
    assert highest - float(unit) > 12


@pytest.mark.parametrize(
    ("top", "shown"), [(100_000, "100000"), (250_000, "250000"), (2_500_000, "2.5M"), (0.4, "0.4")]
)
def test_large_values_are_written_out(top, shown):
    assert f">{shown}</text>" in svg.steps("t", "1/s", {"a": [top]})


def test_groups_of_dots_stand_above_their_names_where_these_have_room():
    def shown(labels):
        picture = svg.intervals("t", "ms", labels, {"a": [(1.0, 0.5)] * len(labels)})
        return re.findall(r'y="190" text-anchor="middle">([^<]+)<', picture)

    assert shown(["jobs.0.qps=5", "<b>"]) == ["jobs.0.qps=5", "&lt;b&gt;"]
    assert shown(["x" * 60, "y"]) == ["1", "2"]
