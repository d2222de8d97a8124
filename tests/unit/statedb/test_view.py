"""Parts of a view that are not copied."""

from hypothesis import given
from hypothesis import strategies as st

from kubedyno.statedb import view as views
from kubedyno.statedb.records import Record
from kubedyno.statedb.view import View

KEYS = st.text(alphabet="ab/\U0010ffff", max_size=4)


@given(
    st.sets(KEYS, max_size=40),
    st.sets(KEYS, max_size=10),
    KEYS,
    st.lists(st.tuples(st.integers(-45, 45), st.integers(-45, 45)), max_size=8),
)
def test_a_span_is_the_same_as_the_list(keys, more, prefix, cuts):
    size, views.CHUNK_RECORDS = views.CHUNK_RECORDS, 4
    try:
        view = View.of(1, [Record(key, None, 1, None) for key in keys])
        view = view.patched(2, {key: Record(key, None, 2, None) for key in more})
    finally:
        views.CHUNK_RECORDS = size
    span, whole = view.span(prefix), view.prefix(prefix)
    assert (len(span), list(span), span[:]) == (len(whole), whole, whole)
    assert [span[i] for i in range(-len(whole), len(whole))] == [whole[i] for i in range(-len(whole), len(whole))]
    for lo, hi in cuts:
        assert span[lo:hi] == whole[lo:hi]
        assert span[lo:hi:2] == whole[lo:hi:2]
