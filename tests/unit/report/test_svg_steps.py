"""Step lines over time."""

import re

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
