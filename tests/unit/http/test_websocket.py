"""WebSocket without I/O: handshake, frames, messages, limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.http.websocket import (
    CloseCode,
    HandshakeError,
    Message,
    Opcode,
    WebSocket,
    WebSocketError,
    accept,
    accept_key,
    close_frame,
    frame,
    masked,
)

MASK = b"\x01\x7f\x80\xff"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HEADERS = {
    "upgrade": "websocket",
    "connection": "keep-alive, Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": KEY,
    "sec-websocket-protocol": "v5.x, v4.x",
}


def fed(data, step=None, **options):
    socket = WebSocket(**options)
    found, error = [], None
    for start in range(0, len(data), step or len(data) or 1):
        messages, error = socket.receive(data[start : start + (step or len(data))])
        found += messages
    return found, error and (error.code, str(error))


def test_the_key_of_the_rfc_is_answered_as_there():
    assert accept_key(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_the_clients_first_protocol_that_is_spoken_is_chosen():
    chosen, headers = accept("GET", HEADERS, ["v4.x", "v5.x"])
    assert chosen == "v5.x"
    assert ("Sec-WebSocket-Protocol", "v5.x") in headers
    assert accept("GET", HEADERS, ["v4.x"])[0] == "v4.x"


def test_a_client_that_names_no_protocol_gets_none():
    chosen, headers = accept("GET", {**HEADERS, "sec-websocket-protocol": ""}, ["v4.x"])
    assert chosen == ""
    assert "Sec-WebSocket-Protocol" not in dict(headers)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("POST", {}),
        ("GET", {"upgrade": "SPDY/3.1"}),
        ("GET", {"connection": "keep-alive"}),
        ("GET", {"sec-websocket-version": "8"}),
        ("GET", {"sec-websocket-key": "short"}),
        ("GET", {"sec-websocket-key": "dGhl"}),
        ("GET", {"sec-websocket-key": "é" * 24}),
        ("GET", {"sec-websocket-protocol": "v9.x"}),
    ],
)
def test_a_handshake_that_is_none_is_refused(method, changes):
    with pytest.raises(HandshakeError):
        accept(method, {**HEADERS, **changes}, ["v4.x"])


MESSAGES = st.lists(
    st.one_of(
        st.tuples(st.just(Opcode.BINARY), st.binary(max_size=300)),
        st.tuples(st.just(Opcode.TEXT), st.text(max_size=100).map(str.encode)),
        st.tuples(st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125)),
    ),
    max_size=6,
)


@given(MESSAGES, st.data())
def test_messages_come_out_as_they_went_in_in_whatever_fragments_and_pieces(messages, draw):
    data = b""
    for opcode, payload in messages:
        if opcode >= Opcode.CLOSE:
            data += frame(opcode, payload, mask=MASK)
            continue
        cuts = sorted(draw.draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        pieces = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        for at, piece in enumerate(pieces):
            kind = opcode if at == 0 else Opcode.CONTINUATION
            data += frame(kind, piece, fin=at == len(pieces) - 1, mask=MASK)
            if at == 0:
                # A control frame may come between fragments.
                data += frame(Opcode.PONG, b"between", mask=MASK)
    whole = fed(data)
    assert whole[1] is None
    kept = [(m.opcode, m.data) for m in whole[0] if m.data != b"between"]
    assert kept == [m for m in messages if m[1] != b"between"]
    assert fed(data, 1) == whole == fed(data, 7)


@given(st.binary(max_size=200), st.integers(1, 9))
def test_any_bytes_give_messages_or_one_error_the_same_in_pieces(data, step):
    whole = fed(data, max_message=100)
    assert fed(data, step, max_message=100) == whole
    for message in whole[0]:
        assert isinstance(message, Message)


@given(st.binary(max_size=70_000), st.binary(min_size=4, max_size=4))
def test_masking_twice_changes_nothing(data, mask):
    assert masked(masked(data, mask), mask) == data
    assert masked(data[:9], mask) == bytes(byte ^ mask[at % 4] for at, byte in enumerate(data[:9]))


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_every_length_is_read_back(size):
    sent = frame(Opcode.BINARY, b"x" * size)
    assert fed(sent, server=False) == ([Message(Opcode.BINARY, b"x" * size)], None)


REFUSED = {
    "not masked": (frame(2, b"x"), CloseCode.PROTOCOL_ERROR),
    "reserved bit": (b"\xc2\x80" + MASK, CloseCode.PROTOCOL_ERROR),
    "unknown opcode": (b"\x83\x80" + MASK, CloseCode.PROTOCOL_ERROR),
    "continuation of nothing": (frame(0, b"x", mask=MASK), CloseCode.PROTOCOL_ERROR),
    "two beginnings": (frame(2, b"x", fin=False, mask=MASK) * 2, CloseCode.PROTOCOL_ERROR),
    "ping in fragments": (frame(9, b"x", fin=False, mask=MASK), CloseCode.PROTOCOL_ERROR),
    "long ping": (frame(9, b"x" * 126, mask=MASK), CloseCode.PROTOCOL_ERROR),
    "long-winded length": (b"\x82\xfe\x00\x01" + MASK + b"x", CloseCode.PROTOCOL_ERROR),
    "close code 1005": (close_frame(1005, mask=MASK), CloseCode.PROTOCOL_ERROR),
    "half a close code": (frame(8, b"\x03", mask=MASK), CloseCode.PROTOCOL_ERROR),
    "text that is none": (frame(1, b"\xff", mask=MASK), CloseCode.BAD_DATA),
    "too big": (b"\x82\xff" + (2**63).to_bytes(8, "big"), CloseCode.TOO_BIG),
    "too big in fragments": (
        frame(2, b"x" * 600, fin=False, mask=MASK) + frame(0, b"x" * 600, mask=MASK),
        CloseCode.TOO_BIG,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_breaks_the_protocol_is_refused_with_its_code(case):
    data, code = REFUSED[case]
    before = frame(Opcode.BINARY, b"ok", mask=MASK)
    found, error = fed(before + data + before, max_message=1000)
    assert [m.data for m in found] == [b"ok"]
    assert error is not None
    assert error[0] == code


def test_nothing_is_read_after_a_close():
    found, error = fed(close_frame(1000, "bye", mask=MASK) + frame(2, b"x", mask=MASK))
    assert (found, error) == ([Message(Opcode.CLOSE, b"bye", 1000)], None)


def test_a_close_without_a_code_is_1005():
    assert fed(frame(8, b"", mask=MASK))[0] == [Message(Opcode.CLOSE, b"", 1005)]


def test_a_reason_is_cut_at_a_character():
    found, error = fed(close_frame(1000, "é" * 100, mask=MASK))
    assert error is None
    assert found[0].data.decode() == "é" * 61


def test_an_error_stays():
    socket = WebSocket()
    _, first = socket.receive(b"\x83\x80")
    assert isinstance(first, WebSocketError)
    assert socket.receive(frame(2, b"x", mask=MASK)) == ([], first)
