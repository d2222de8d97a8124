"""Numbers of texts as Go's strconv reads them."""

import re

import pytest

from kubedyno.kube.strconv import parse_int, parse_uint, whole

MANY = "9" * 5000


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_int, "-9223372036854775808", -(1 << 63)),
        (parse_int, "+5", 5),
        (parse_int, "007", 7),
        (parse_uint, "18446744073709551615", (1 << 64) - 1),
        (parse_uint, "0" * 5000 + "8", 8),
    ],
)
def test_a_number_of_64_bits_is_read(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize("text", ["", "-", "1_0", " 5", "5\n", "²", "٣", "0x1", "1.0"])
def test_what_is_no_number_is_told_in_gos_words(text):
    for parse, name in ((parse_int, "ParseInt"), (parse_uint, "ParseUint")):
        why = f'strconv.{name}: parsing "{text}": invalid syntax'
        with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
            parse(text)
    assert whole(text, -1) == -1


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_int, "9223372036854775808"),
        (parse_int, f"-{MANY}"),
        (parse_uint, "18446744073709551616"),
        (parse_uint, MANY),
    ],
)
def test_a_number_of_more_bits_is_out_of_range(parse, text):
    with pytest.raises(ValueError, match="value out of range"):
        parse(text)
    assert whole(MANY, 7) == 7
