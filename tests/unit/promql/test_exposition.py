"""Pages of metrics, read."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.promql.errors import ExpositionError
from kubedyno.promql.exposition import About, Sample, labels_of, read
from kubedyno.promql.rows import STALE, is_stale, json_number, plain

PAGE = """\
# HELP http_requests_total Requests\\nby code.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400",} 3
# a comment
something_weird{problem="division by \\"zero\\"} ,{"}   +Inf  -3982045
  metric_without_timestamp_and_labels 12.47
nan_value NaN
tight{a="b"}5
"""


def test_a_page_is_read_in_order():
    found = list(read(PAGE))
    assert found[0] == About("http_requests_total", "help", "Requests\nby code.")
    assert found[1] == About("http_requests_total", "type", "counter")
    samples = [item for item in found if isinstance(item, Sample)]
    assert (samples[0].value, samples[0].time_ms) == (1027.0, 1395066363000)
    assert labels_of(samples[1].series) == {"__name__": "http_requests_total", "method": "post", "code": "400"}
    assert labels_of(samples[2].series)["problem"] == 'division by "zero"} ,{'
    assert samples[2].value == math.inf
    assert math.isnan(samples[4].value)
    assert samples[5].value == 5


def test_openmetrics_has_seconds_exemplars_and_an_end():
    page = 'a_bucket{le="1"} 5 1.5 # {trace="x"} 0.5\n# UNIT a seconds\n# EOF\n'
    sample, unit = read(page, openmetrics=True)
    assert isinstance(sample, Sample)
    assert sample.time_ms == 1500
    assert unit == About("a", "unit", "seconds")
    with pytest.raises(ExpositionError, match="cut off"):
        list(read("a 1\n", openmetrics=True))
    with pytest.raises(ExpositionError, match="follows"):
        list(read("# EOF\na 1\n", openmetrics=True))


@pytest.mark.parametrize(
    "line",
    [
        "a",
        "a{",
        'a{b="c} 1',
        "a 1_000",
        "a x",
        "1a 5",
        'a{b="c" d="e"} 1',
        'a{b="1",b="2"} 1',
        "a 1 x",
        "a 1 1.5",
        "# TYPE a nonsense",
    ],
)
def test_a_malformed_line_is_named(line):
    with pytest.raises(ExpositionError, match=r"line 2|labels|twice"):
        _ = [labels_of(item.series) for item in read(f"ok 1\n{line}\n") if isinstance(item, Sample)]


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(lambda name: name != "__name__"),
        st.text(min_size=1, max_size=10),
    )
)
def test_labels_come_back_whatever_is_in_them(labels):
    inner = ",".join(
        name + '="' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        for name, value in labels.items()
    )
    (sample,) = [item for item in read(f"m{{{inner}}} 1") if isinstance(item, Sample)]
    assert labels_of(sample.series) == {"__name__": "m", **labels}


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_by_one_error(text):
    try:
        for item in read(text):
            if isinstance(item, Sample):
                labels_of(item.series)
    except ExpositionError:
        pass


@given(st.floats(allow_nan=False))
def test_numbers_are_written_so_that_they_come_back(value):
    assert float(plain(value)) == value
    assert float(json_number(value)) == value


def test_numbers_are_written_as_go_writes_them():
    assert [json_number(v) for v in (1.0, 0.1, 1e20, 1e21, 1e-7, -2.5e-9, 1e6, 0.0, math.inf)] == [
        "1", "0.1", "100000000000000000000", "1e+21", "1e-7", "-2.5e-9", "1000000", "0", "+Inf",
    ]  # fmt: skip


def test_only_the_marker_marks_an_end():
    assert is_stale(STALE)
    assert not is_stale(math.nan)
    assert not is_stale(1.0)
