"""One document, three forms, each read back to what it was."""

import json

import pytest

from kubedyno.kube import forms, yaml

DOCUMENT = {"name": "no", "port": 8080, "ratio": 0.5, "lines": ["a\nb", ""], "none": None, "nested": {"on": True}}


@pytest.mark.parametrize("form", forms.FORMS)
def test_each_form_reads_back_to_the_document(form: str) -> None:
    text = forms.text_of(DOCUMENT, form)
    assert text.endswith("\n")
    read = json.loads(text) if form == forms.JSON else yaml.load(text)
    assert read == DOCUMENT


def test_the_forms_differ_and_are_what_they_say() -> None:
    assert forms.text_of({"a": "no"}, forms.KYAML) == '---\n{\n  a: "no",\n}\n'
    assert forms.text_of({"a": "no"}, forms.YAML) == 'a: "no"\n'
    assert forms.text_of({"a": "no"}, forms.JSON) == '{\n  "a": "no"\n}\n'
