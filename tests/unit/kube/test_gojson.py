"""Go's words for texts that are no JSON."""

import json

import pytest

from kubedyno.kube.gojson import fault


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "unexpected end of JSON input"),
        ('{"a":', "unexpected end of JSON input"),
        ('{"a', "unexpected end of JSON input"),
        ("{bad", "invalid character 'b' looking for beginning of object key string"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("{} x", "invalid character 'x' after top-level value"),
        ("'a'", "invalid character '\\'' looking for beginning of value"),
        ("tru3", "invalid character '3' in literal true (expecting 'e')"),
        ("-a", "invalid character 'a' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1e+", "unexpected end of JSON input"),
        ("1ex", "invalid character 'x' in exponent of numeric literal"),
        ("01", "invalid character '1' after top-level value"),
        ('"a\nb"', "invalid character '\\n' in string literal"),
        ('"\\x"', "invalid character 'x' in string escape code"),
        ('"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"),
        ("\x01", "invalid character '\\x01' looking for beginning of value"),
        ("[" * 10_001, "exceeded max depth"),
    ],
)
def test_a_text_that_is_no_json(text: str, said: str) -> None:
    assert fault(text.encode()) == said


@pytest.mark.parametrize(
    "value",
    [{}, [], {"a": [1, -2.5, 1e300, True, None, {"b": {}}], "\u00e9\n\\": [[], ""]}, "x", 0, [[[]], {"a": []}]],
)
def test_json_has_no_fault(value: object) -> None:
    for indent in (None, 1):
        assert fault(json.dumps(value, indent=indent).encode()) == ""
