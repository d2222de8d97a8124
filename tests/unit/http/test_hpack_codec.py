import contextlib

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.http.h2_client import status_of
from kubedyno.http.hpack_codec import Decoder, HeaderError, encode_field, encode_integer

NAMES = st.sampled_from([":path", ":method", "accept", "x-a", "x-b", "authorization", "content-length"])
VALUES = st.one_of(st.sampled_from(["GET", "a" * 300, "b" * 2000, "12", ""]), st.text("abz09 /=", max_size=40))
BLOCK = st.lists(st.tuples(NAMES, VALUES), max_size=6)


def decoder(size=4096, limit=65536):
    return Decoder(list, size, limit)


@given(
    st.lists(
        st.tuples(BLOCK, st.booleans(), st.sampled_from([None, None, None, 0, 100, 4096])), min_size=1, max_size=12
    )
)
def test_any_sequence_of_blocks_decodes_as_the_library_does(blocks):
    encoder, ours, theirs = hpack.Encoder(), decoder(), hpack.Decoder()
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode(fields, huffman=huffman)
        # Twice: what is remembered must be the same as what is decoded, as long as it decodes at all.
        assert ours.decode(block) == [tuple(field) for field in theirs.decode(block)]


def test_a_block_that_reads_the_table_is_forgotten_when_the_table_changes():
    ours = decoder()
    add_a = b"\x40" + b"\x03x-a" + b"\x01a"
    assert ours.decode(add_a) == [("x-a", "a")]
    newest = b"\xbe"
    assert ours.decode(newest) == [("x-a", "a")]
    assert ours.remembered == 1
    ours.decode(b"\x40" + b"\x03x-b" + b"\x01b")
    assert ours.decode(newest) == [("x-b", "b")]


def test_a_block_that_adds_to_the_table_adds_each_time():
    ours = decoder()
    add = b"\x40" + b"\x03x-a" + b"\x01a"
    ours.decode(add)
    ours.decode(add)
    assert ours.decode(b"\xbf") == [("x-a", "a")]
    assert ours.remembered == 1


def test_equal_blocks_without_table_references_are_made_only_once():
    made = []
    ours = Decoder(lambda fields: made.append(fields) or len(made), 4096, 65536)
    block = b"\x82" + encode_field("authorization", "Bearer x")
    assert [ours.decode(block), ours.decode(block)] == [1, 1]


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_decoded_or_refused_never_any_other_error(block):
    with contextlib.suppress(HeaderError):
        decoder(4096, 1000).decode(block)


@pytest.mark.parametrize(
    "block", [b"\x80", b"\xbe", b"\x3f\xe2\x1f", b"\x82\x20", b"\x40\x03x-", b"\x7f\xff\xff\xff\xff\xff\xff"]
)
def test_a_malformed_block_is_refused(block):
    with pytest.raises(HeaderError):
        decoder().decode(block)


def test_a_block_that_unpacks_to_too_much_is_refused():
    ours = decoder(4096, 10_000)
    ours.decode(b"\x40\x03x-a" + encode_integer(2000, 0x7F, 0) + b"a" * 2000)
    with pytest.raises(HeaderError, match="10000"):
        ours.decode(b"\xbe" * 10)


@given(NAMES, VALUES)
def test_what_we_encode_needs_no_dynamic_table(name, value):
    theirs = hpack.Decoder()
    theirs.max_allowed_table_size = theirs.header_table_size = 0
    assert [tuple(f) for f in theirs.decode(encode_field(name, value))] == [(name, value)]


@pytest.mark.parametrize("huffman", [True, False])
def test_the_status_is_read_from_every_form_of_first_field(huffman):
    for status in [*range(100, 600, 7), 200, 204, 404, 500]:
        encoder = hpack.Encoder()
        encoder.header_table_size = 0
        block = encoder.encode([(":status", str(status)), ("x", "y")], huffman=huffman)
        assert status_of(block) == status
        assert status_of(block) == status
