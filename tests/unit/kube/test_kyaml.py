"""KYAML against the reference encoder's recorded outputs; the way there and back; comments."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedyno.base.errors import KubedynoError
from kubedyno.kube import kyaml, yaml
from kubedyno.kube.yamltree import TreeError

GOLDEN = Path(__file__).parents[2] / "golden" / "kube" / "kyaml.jsonl"
CASES = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


def as_floats(value: Any) -> Any:
    """Numbers as the recorder decoded them."""
    if isinstance(value, dict):
        return {key: as_floats(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [as_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_output_is_the_reference_encoders(case: dict[str, Any]) -> None:
    given_ = case["input"]

    def compute() -> str:
        if given_["call"] == "Marshal":
            return kyaml.marshal(as_floats(json.loads(given_["text"])), compact=given_["compact"])
        return kyaml.encode(given_["text"], compact=given_["compact"])

    if "error" in case:
        with pytest.raises(TreeError) as caught:
            compute()
        assert str(caught.value) == case["error"]
    else:
        assert compute() == case["output"]


# --- there and back ---------------------------------------------------------------------------------------------------

texts = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\ufeff\ufffe\uffff"), max_size=12
) | st.sampled_from(
    [
        "yes",
        "no",
        "~",
        "0x10",
        "1_000",
        "1:30",
        "2024-01-02",
        "a\nb\n",
        " lead\n tail ",
        "# no",
        "a: b",
        "- x",
        "",
        "\t",
    ]
)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)


@given(values)
@settings(max_examples=100)
def test_a_value_comes_back_from_kyaml(value: Any) -> None:
    assert yaml.load(kyaml.dump(value)) == value
    assert yaml.load(kyaml.dump(value, compact=True)) == value


@given(values)
@settings(max_examples=100)
def test_encoding_kyaml_again_changes_nothing(value: Any) -> None:
    text = kyaml.dump(value)
    assert kyaml.encode(text) == text


@given(values)
@settings(max_examples=100)
def test_block_style_and_back_is_the_same_kyaml(value: Any) -> None:
    text = kyaml.dump(value)
    block = kyaml.block(text)
    assert yaml.load(block) == value
    assert kyaml.encode(block) == text


@st.composite
def commented(draw: Any, depth: int = 0) -> tuple[list[str], bool]:
    """Lines of KYAML with comments in every place that it has."""
    words = draw(st.integers(0, 999))

    def comment(kind: str) -> list[str]:
        return [f"# {kind}{draw(st.integers(0, 10**9))}" for _ in range(draw(st.integers(0, 2)))]

    if depth > 2 or (draw(st.booleans()) and depth):
        return [draw(st.sampled_from([f"{words}", '"text"', "true", "null", "{}", "[]"]))], False
    is_map = draw(st.booleans())
    lines = ["{" if is_map else "["]
    for number in range(draw(st.integers(1, 3))):
        inner, _ = draw(commented(depth + 1))
        behind = "".join(f" {text}" for text in comment("line")[:1])
        start = f"k{number}: " if is_map else ""
        body = [start + inner[0], *inner[1:]]
        body[-1] += "," + behind
        lines += ["  " + line for line in [*comment("head"), *body]]
    lines += ["  " + line for line in comment("foot")]
    return [*lines, "}" if is_map else "]"], True


@given(commented())
@settings(max_examples=150)
def test_no_comment_is_lost_on_the_way_to_block_style_and_back(lines: tuple[list[str], bool]) -> None:
    source = "\n".join(lines[0]) + "\n"
    found = [part.split()[0] for part in source.split("#")[1:]]
    text = kyaml.encode(source)
    block = kyaml.block(text)
    for shown in (text, block, kyaml.encode(block)):
        assert sorted(part.split()[0] for part in shown.split("#")[1:]) == sorted(found)
    assert yaml.load(block) == yaml.load(source)
    assert kyaml.encode(text) == text
    assert kyaml.encode(block) == text


def shown(text: str) -> str:
    return textwrap.dedent(text).lstrip("\n")


def test_comments_of_block_yaml_stay_with_what_they_speak_of() -> None:
    source = shown("""
        # of the file

        # of spec
        spec: # behind spec
          # of a
          a: 1 # behind a
          # below a

          list:
          # of the first
          - x
          - y # behind y
          # below y
        # of last
        last: |  # behind last
          text
        # the end
    """)
    assert kyaml.encode(source) == shown("""
        ---
        # of the file
        {
          # of spec
          spec: {
            # of a
            a: 1, # behind a
            # below a
            list: [
              # of the first
              "x",
              "y", # behind y
              # below y
            ],
          }, # behind spec
          # of last
          last: "\\
             text\\n\\
            ", # behind last
          # the end
        }
    """)


def test_a_comment_between_empty_lines_speaks_of_what_follows() -> None:
    assert kyaml.block("a: 1\n\n# c\n\nb: 2\n") == "a: 1\n# c\nb: 2\n"
    assert kyaml.block("a: 1\n# c\n\nb: 2\n") == "a: 1\n# c\n\nb: 2\n"


def test_a_comment_behind_a_dash_speaks_of_what_is_in_the_item() -> None:
    assert kyaml.encode("- - x\n-\n    # c\n  - y\n") == shown("""
        ---
        [[
          "x",
        ], [
          # c
          "y",
        ]]
    """)


def test_a_comment_behind_a_bracket_is_kept() -> None:
    assert kyaml.encode("a: [ # why\n  1]\n") == "---\n{\n  a: [\n    # why\n    1,\n  ],\n}\n"


def test_merge_keys_are_named_because_kyaml_has_none() -> None:
    assert kyaml.merge_lines("a: &x {p: 1}\nb:\n  <<: *x\n") == [3]
    assert kyaml.merge_lines('"<<": 1\n') == []


@pytest.mark.parametrize("text", ["a: [1\n", "a: b: c\n", "\tx", "a: *b\n", "a: &x [*x]\n", "[" * 500])
def test_what_is_no_yaml_is_one_line_that_names_the_file(text: str) -> None:
    with pytest.raises(KubedynoError) as caught:
        kyaml.encode_file(text, "some.yaml")
    assert str(caught.value).startswith("some.yaml: ")
    assert "\n" not in str(caught.value)


def test_aliases_cannot_multiply_a_document_without_end() -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(TreeError, match="excessive aliasing"):
        kyaml.encode(bomb)


@given(values)
@settings(max_examples=100)
def test_a_value_comes_back_from_block_yaml(value: Any) -> None:
    assert yaml.load(kyaml.dump_block(value)) == value
