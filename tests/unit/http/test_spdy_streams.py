"""Streams of a SPDY connection, against a hand-made client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.http import spdy_streams
from kubedyno.http.spdy import (
    Data,
    Framer,
    GoAway,
    Ping,
    Reset,
    ResetCode,
    SpdyError,
    SynReply,
    SynStream,
    WindowUpdate,
)
from kubedyno.http.spdy_streams import SpdyConnection


class Client:
    """The other end: sends frames, keeps what comes back."""

    def __init__(self, wanted=lambda stream: True):
        self.framer = Framer()
        self.answers = Framer()
        self.frames = []
        self.streams = []
        self.said = []
        self.ended = []
        self.wanted = wanted
        self.connection = SpdyConnection(self.take, self.on_stream)

    def on_stream(self, stream):
        if not self.wanted(stream):
            return False
        self.streams.append(stream)
        stream.on_data = lambda data: self.said.append((stream.stream_id, data))
        stream.on_end = lambda: self.ended.append(stream.stream_id)
        return True

    def take(self, data):
        frames, error = self.answers.receive(data)
        assert error is None
        self.frames += frames

    def send(self, *frames):
        self.connection.receive(b"".join(self.framer.encode(frame) for frame in frames))

    def got(self):
        frames, self.frames = self.frames, []
        return frames


def test_a_stream_begins_speaks_and_ends_both_ways():
    client = Client()
    client.send(SynStream(1, {"streamtype": "data"}), Data(1, b"hello"), Data(1, b"", fin=True))
    assert client.got() == [SynReply(1), WindowUpdate(0, 5), WindowUpdate(1, 5)]
    assert (client.said, client.ended) == ([(1, b"hello")], [1])
    stream = client.streams[0]
    assert stream.headers == {"streamtype": "data"}
    stream.write(b"answer")
    stream.end()
    stream.write(b"late")
    stream.end()
    assert client.got() == [Data(1, b"answer"), Data(1, b"", fin=True)]
    assert client.connection.open_streams == 0


def test_a_stream_that_is_not_wanted_is_refused():
    client = Client(wanted=lambda stream: False)
    client.send(SynStream(1, {}), Data(1, b"x"))
    assert client.got() == [Reset(1, ResetCode.REFUSED_STREAM), WindowUpdate(0, 1)]


def test_there_are_only_so_many_streams(monkeypatch):
    monkeypatch.setattr(spdy_streams, "MAX_STREAMS", 2)
    client = Client()
    client.send(SynStream(1), SynStream(3), SynStream(5))
    assert client.got() == [SynReply(1), SynReply(3), Reset(5, ResetCode.REFUSED_STREAM)]
    client.send(Data(1, b"", fin=True))
    client.streams[0].end()
    client.got()
    client.send(SynStream(7))
    assert client.got() == [SynReply(7)]


def test_a_reset_ends_a_stream_and_nothing_is_sent_on_it():
    client = Client()
    client.send(SynStream(1), Reset(1, ResetCode.CANCEL))
    assert (client.ended, client.streams[0].is_reset) == ([1], True)
    client.got()
    client.streams[0].write(b"x")
    client.streams[0].end()
    assert client.got() == []
    # What was still on its way is no error.
    client.send(Data(1, b"x"))
    assert client.got() == [WindowUpdate(0, 1)]


def test_data_of_a_stream_that_never_was_is_refused():
    client = Client()
    client.send(Data(9, b""))
    assert client.got() == [Reset(9, ResetCode.INVALID_STREAM)]


def test_a_ping_comes_back_and_an_answer_to_none_of_ours_does_not():
    client = Client()
    client.send(Ping(1), Ping(2))
    assert client.got() == [Ping(1)]


@pytest.mark.parametrize("ids", [(2,), (3, 1), (1, 1)])
def test_numbers_of_streams_are_odd_and_grow(ids):
    client = Client()
    with pytest.raises(SpdyError):
        client.send(*(SynStream(number) for number in ids))
    assert client.got()[-1] == GoAway(max(0, *(i for i in ids[:-1]), 0), 1)
    assert client.connection.closed
    assert client.connection.open_streams == 0


def test_a_large_answer_is_cut_into_frames():
    client = Client()
    client.send(SynStream(1))
    client.got()
    client.streams[0].write(bytes(40_000))
    assert [len(frame.data) for frame in client.got()] == [16384, 16384, 7232]


def test_going_away_ends_all_streams():
    client = Client()
    client.send(SynStream(1), SynStream(3))
    client.got()
    client.connection.go_away()
    assert client.got() == [GoAway(3, 0)]
    assert client.ended == [1, 3]
    client.send(SynStream(5))
    assert client.got() == []


def test_what_comes_before_somebody_listens_waits_up_to_a_bound():
    client = Client()
    client.send(SynStream(1), SynStream(3))
    client.got()
    for stream in client.streams:
        stream.on_data = None
    client.send(Data(1, b"a"), Data(1, b"b", fin=True))
    client.streams[0].on_data = client.said.append
    assert client.said == [b"ab"]
    client.got()
    client.send(Data(3, bytes(65 << 10)))
    assert client.got()[-1] == Reset(3, ResetCode.FLOW_CONTROL_ERROR)


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_break_the_connection_with_one_error(data):
    client = Client()
    try:
        client.connection.receive(data)
    except SpdyError:
        assert client.connection.closed
