"""Answers that are no Status: one line for people, whatever they hold."""

import pytest

from kubedyno.kube.status import StatusError

PAGE = b"<!DOCTYPE html>\n<html>\n<head>\n  <title>502 Bad\n Gateway</title>\n</head>\n<body>" + b"x" * 5000


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (PAGE, "a web page: 502 Bad Gateway"),
        (b"<html><body>x</body></html>", "a web page"),
        (b"upstream connect error\nor disconnect\n", "upstream connect error or disconnect"),
        (b"x\x1b[31m\x00y", "x?[31m?y"),
        (b"", "the server answered 502"),
        (b"z" * 5000, "z" * 200),
    ],
)
def test_what_is_no_status_is_one_line(body: bytes, said: str) -> None:
    error = StatusError.from_response(502, body)
    assert (error.message, error.code) == (said, 502)
