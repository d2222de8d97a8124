"""Spliced objects equal those made the whole way, whatever the template and the values."""

import json
import string
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubedyno.base.errors import KubedynoError
from kubedyno.load.config.spec import GlobalSpec, JobSpec, ObjectSpec, Spec
from kubedyno.load.plan.plan import make_plan

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: cm-{{.Iteration}}-{{.Replica}}\n  labels:\n    app: x\n"
# Where a value may stand; each with what could go wrong there.
PLACES = (
    "  plain: {{.v}}",
    "  prefixed: a-{{.v}}",
    "  digit: 1{{.v}}",
    "  letter: y{{.v}}",
    "  minus: -{{.v}}",
    "  dotted: {{.v}}.{{.w}}",
    "  two: {{.v}} {{.w}}",
    "  suffixed: {{.v}}m",
    "  zero: 0{{.v}}",
    '  double: "{{.v}}"',
    '  joined: "{{.v}}{{.w}}"',
    "  single: '{{.v}}'",
    '  escaped: "\\t{{.v}}"',
    "  percent: 100%{{.v}}%s",
    "  url: http://{{.v}}:80/{{.w}}",
    "  key-{{.v}}: x",
    "  {{.v}}: x",
    "  block: |\n    {{.v}}\n    second",
    "  folded: >-\n    first\n    {{.v}}",
    "  flow: [{{.v}}, a{{.w}}]",
    "  inner: {a: {{.v}}}",
    "  # a comment {{.v}}",
    "  long: first\n    {{.v}}",
    "  tagged: !!str {{.v}}",
    "  anchor: &a {{.v}}\n  alias: *a",
    "  quoted: {{.v | quote}}",
    '  multi: "first\n    {{.v}}"',
    "{{if eq .w .v}}  same: {{.v}}{{else}}  other: {{.w}}{{end}}",
    "{{range until 3}}  k{{.}}: v{{.}}\n{{end}}",
    "  unicode: ü{{.v}}",
)
WORDS = (
    "", "a", "7", "0", "-1", "1.5", "1e3", "0x1F", "0644", "0o17", "08", "12:30", "2001-01-01", "true", "yes", "on", "n",
    "es", "null", "~", ".inf", "1_000", "-", "---", "- x", "a: b", "a #b", "#", "'", '"', "\\", "%s", "a\nb", "  ", "a ",
    "x\x00y", "\u2028", "é", "{", "[", "*a", "&a", "!x", "|", ">", "@", "`", "?", "<<", "=", ",", "name", "Zq0qZ",
)  # fmt: skip
values = st.one_of(
    st.sampled_from(WORDS),
    st.text(string.ascii_letters + string.digits + "._/-", max_size=8),
    st.text(max_size=6),
    st.integers(-(2**40), 2**40),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
)


def whole(item, iteration, replica):
    shape, found = item._trace(iteration, replica)
    return item._whole(shape, found, iteration, replica)


@settings(max_examples=400)
@given(
    st.lists(st.sampled_from(PLACES), min_size=1, max_size=4, unique=True),
    st.lists(st.tuples(values, values), min_size=3, max_size=6),
)
@example(["  digit: 1{{.v}}"], [("a", "a"), ("0", "0"), ("e3", "b")])
@example(["  flow: [{{.v}}, a{{.w}}]"], [("a", "a"), ("b, c", "b"), ("", "")])
@example(["  key-{{.v}}: x"], [("a", "a"), ("b", "b"), ("1", "1")])
@example(['  multi: "first\n    {{.v}}"'], [("a", "b"), (" ", "b"), ("x ", "y")])
def test_a_spliced_object_is_the_object_that_the_text_means(places, rounds):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "t.yaml").write_text(HEAD + "data:\n" + "\n".join(places) + "\n", encoding="utf-8")
        first = rounds[0]
        spec = ObjectSpec(template="t.yaml", input_vars={"v": first[0], "w": first[1]})
        job = JobSpec(name="j", namespace="n", job_iterations=len(rounds), objects=(spec,))
        try:
            plan = make_plan(Spec(GlobalSpec(), (), (job,)), uuid="u", runid="r", compat=2, directory=Path(folder))
        except KubedynoError:
            # The first values make no object at all.
            return
        item = plan.jobs[0].objects[0]
        for iteration, (v, w) in enumerate(rounds):
            item._variables |= {"v": v, "w": w}
            for known in item._shapes.values():
                # Its own check would mend what this test is to find.
                known.to_check = 0
            try:
                expected = whole(item, iteration, 1)
            except KubedynoError:
                continue
            made = item.render(iteration, 1)
            assert json.loads(made.body) == json.loads(expected.body)
            assert made[:3] == expected[:3]


def test_the_usual_templates_are_spliced(tmp_path):
    (tmp_path / "t.yaml").write_text(HEAD + "data:\n" + "\n".join([PLACES[i] for i in (0, 1, 2, 5, 9, 10, 17)]) + "\n")
    spec = ObjectSpec(template="t.yaml", input_vars={"v": "a", "w": 5})
    job = JobSpec(name="j", namespace="n", job_iterations=3, objects=(spec,))
    plan = make_plan(Spec(GlobalSpec(), (), (job,)), uuid="u", runid="r", compat=2, directory=tmp_path)
    item = plan.jobs[0].objects[0]
    item._whole = None
    for known in item._shapes.values():
        known.to_check = 0
    assert item.render(1, 1).name == "cm-1-1"
