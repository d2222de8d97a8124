"""SPDY/3.1's framing without I/O."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.http.spdy import (
    DICTIONARY,
    Data,
    Framer,
    GoAway,
    HeadersFrame,
    Ping,
    Reset,
    Settings,
    SynReply,
    SynStream,
    WindowUpdate,
)

IDS = st.integers(1, 2**31 - 1)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz-:", min_size=1, max_size=20)
FIELDS = st.dictionaries(NAMES, st.text("abcXYZ 0123/.\0é", max_size=40), max_size=5)
FRAMES = st.one_of(
    st.builds(SynStream, IDS, FIELDS, st.booleans(), st.booleans(), IDS, st.integers(0, 7)),
    st.builds(SynReply, IDS, FIELDS, st.booleans()),
    st.builds(HeadersFrame, IDS, FIELDS, st.booleans()),
    st.builds(Data, IDS, st.binary(max_size=300), st.booleans()),
    st.builds(Reset, IDS, st.integers(1, 11)),
    st.builds(Settings, st.dictionaries(st.integers(1, 9), st.integers(0, 2**32 - 1), max_size=3)),
    st.builds(Ping, st.integers(0, 2**32 - 1)),
    st.builds(GoAway, IDS, st.integers(0, 2)),
    st.builds(WindowUpdate, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)),
)


def fed(data, step=None, **options):
    framer = Framer(**options)
    found, error = [], None
    for start in range(0, len(data), step or len(data) or 1):
        frames, error = framer.receive(data[start : start + (step or len(data))])
        found += frames
    return found, error and str(error)


def sent(*frames):
    framer = Framer()
    return b"".join(framer.encode(frame) for frame in frames)


def test_the_dictionary_has_the_length_and_checksum_of_the_specification():
    assert len(DICTIONARY) == 1423
    # The Adler-32 that a stream compressed with it names.
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


@given(st.lists(FRAMES, max_size=8), st.integers(1, 13))
def test_frames_come_out_as_they_went_in_in_whatever_pieces(frames, step):
    data = sent(*frames)
    assert fed(data) == (frames, None)
    assert fed(data, 1) == (frames, None) == fed(data, step)


@given(st.binary(max_size=120), st.integers(1, 9))
def test_any_bytes_give_frames_or_one_error_the_same_in_pieces(data, step):
    assert fed(data, step) == fed(data)


@given(st.lists(FRAMES, min_size=1, max_size=4), st.data())
def test_a_damaged_connection_gives_frames_or_one_error(frames, draw):
    data = bytearray(sent(*frames))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= draw.draw(st.integers(1, 255))
    assert fed(bytes(data), 3) == fed(bytes(data))


def control(kind, payload, flags=0, version=3):
    return struct.pack(">HHI", 0x8000 | version, kind, flags << 24 | len(payload)) + payload


def block(plain, *, zdict=DICTIONARY, flush=zlib.Z_SYNC_FLUSH):
    deflate = zlib.compressobj(zdict=zdict)
    return deflate.compress(plain) + deflate.flush(flush)


ONE = struct.pack(">I", 1)
PAIR = ONE + b"a" + ONE + b"b"
REPLY = struct.pack(">I", 1)
REFUSED = {
    "another version": control(6, REPLY, version=2),
    "data of stream 0": struct.pack(">II", 0, 0),
    "a stream 0": control(1, struct.pack(">IIBx", 0, 0, 0) + block(struct.pack(">I", 0))),
    "short ping": control(6, b"abc"),
    "long reset": control(3, b"abcdefghi"),
    "settings that lie": control(4, struct.pack(">I", 5)),
    "another dictionary": control(2, REPLY + block(ONE + PAIR, zdict=b"other")),
    "garbage block": control(2, REPLY + b"garbage"),
    "ended compression": control(2, REPLY + block(ONE + PAIR, flush=zlib.Z_FINISH)),
    "a bomb": control(2, REPLY + block(ONE + ONE + b"a" + struct.pack(">I", 1 << 24) + bytes(1 << 24))),
    "a name twice": control(2, REPLY + block(struct.pack(">I", 2) + PAIR + PAIR)),
    "capitals": control(2, REPLY + block(ONE + PAIR.replace(b"a", b"A"))),
    "no name": control(2, REPLY + block(ONE + struct.pack(">II", 0, 0))),
    "too few pairs": control(2, REPLY + block(ONE + PAIR + PAIR)),
    "too many pairs": control(2, REPLY + block(struct.pack(">I", 9) + PAIR)),
    "a value that is longer than the block": control(2, REPLY + block(ONE + ONE + b"a" + struct.pack(">I", 9))),
    "a frame that is too large": struct.pack(">II", 1, (1 << 20) + 1),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_breaks_the_protocol_ends_it(case):
    ping = sent(Ping(1))
    found, error = fed(ping + REFUSED[case] + ping)
    assert (found, bool(error)) == ([Ping(1)], True)
    assert fed(ping + REFUSED[case] + ping, 5) == (found, error)


def test_a_block_that_was_written_by_hand_is_read():
    data = control(2, REPLY + block(ONE + PAIR), flags=1)
    assert fed(data) == ([SynReply(1, {"a": "b"}, fin=True)], None)


def test_a_kind_that_nobody_knows_is_passed_over():
    assert fed(control(77, b"abc") + sent(Ping(2))) == ([Ping(2)], None)


def test_repeated_headers_cost_less():
    headers = {"streamtype": "data", "port": "8080", "requestid": "1"}
    first, second = Framer(), Framer()
    one = len(first.encode(SynStream(1, headers)))
    second.encode(SynStream(1, headers))
    assert len(second.encode(SynStream(3, headers))) < one / 2
