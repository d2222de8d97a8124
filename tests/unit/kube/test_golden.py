"""Quantities, selectors, names, patches and YAML against what the Go libraries of a real cluster computed.

Each line of tests/golden/kube/*.jsonl is one call with its output or error. What only kubectl does (computing two-way
and three-way patches, KYAML) is not among them, nor are texts that are no JSON: who decodes them words that.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from kubedyno.kube import names, patch, strategicpatch, yaml
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.selectors import FieldSelector, LabelSelector

GOLDEN = Path(__file__).parents[2] / "golden" / "kube"
API_VERSIONS = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "ReplicaSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
    "Ingress": "networking.k8s.io/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
}


def cases(name: str) -> Any:
    entries = [json.loads(line) for line in (GOLDEN / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert entries
    return pytest.mark.parametrize("case", entries, ids=[entry["name"] for entry in entries])


def check(case: dict[str, Any], compute: Any) -> None:
    """Compare an output, or the text of a ValueError, with the recorded one."""
    if "error" in case:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
            compute()
        assert str(caught.value) == case["error"]
    else:
        assert compute() == case["output"]


# --- quantities ---------------------------------------------------------------------------------------------------


def facts_of(text: str) -> dict[str, Any]:
    quantity = Quantity.parse(text)
    return {
        "string": str(quantity),
        "value": quantity.value(),
        "milli": quantity.milli_value(),
        "scaled_kilo": quantity.scaled_value(3),
        "micro": str(quantity.scaled_value(-6)),
        "format": quantity.format,
        "sign": (quantity.unscaled > 0) - (quantity.unscaled < 0),
        "is_zero": not quantity.unscaled,
        "json": json.dumps(str(quantity)),
    }


def quantity_output(given: dict[str, Any]) -> Any:
    call = given["call"]
    if call == "ParseQuantity":
        return facts_of(given["text"])
    if call == "RoundUp":
        before = Quantity.parse(given["text"])
        after = before.round_up(given["scale"])
        return {"string": after.canonical(), "exact": before == after}
    if call == "NewQuantity":
        value, form = given["value"], given["format"]
        return {
            "string": Quantity(value, 0, form).canonical(),
            "milli_string": Quantity(value, -3, form).canonical(),
        }
    a, b = Quantity.parse(given["a"]), Quantity.parse(given["b"])
    return {
        "cmp": (a > b) - (a < b),
        "equal": a == b,
        "add": (a + b).canonical(),
        "sub": (a - b).canonical(),
        "neg_a": (-a).canonical(),
        "add_milli": (a + b).milli_value(),
        "sub_value": (a - b).value(),
    }


@cases("quantity")
def test_quantities(case):
    # What Go says of its own representation, and its floats and decimals, are nobody's answer here.
    for member in ("as_int64", "as_int64_ok", "float", "dec"):
        case.get("output", {}).pop(member, None)
    check(case, lambda: quantity_output(case["input"]))


# --- selectors ----------------------------------------------------------------------------------------------------


def selector_output(given: dict[str, Any]) -> Any:
    if given["call"] == "fields.ParseSelector":
        fields = FieldSelector.parse(given["selector"])
        return {
            "string": str(fields),
            "empty": not fields.terms,
            "requirements": [
                {"field": field, "operator": operator, "value": value} for field, operator, value in fields.terms
            ],
            "matches": [fields.matches(lambda field, s=s: s.get(field, "")) for s in given["field_sets"]],
        }
    if given["call"] == "labels.Parse":
        selector = LabelSelector.parse(given["selector"])
    else:
        selector = LabelSelector.of(given["label_selector"])
    found = {
        "string": str(selector),
        "empty": selector.empty,
        "matches": [selector.matches(labels) for labels in given["label_sets"]],
    }
    if given["call"] == "labels.Parse":
        found["requirements"] = [
            {"key": term.key, "operator": term.operator, "values": sorted(term.values)}
            for term in selector.requirements
        ]
    return found


@cases("selector")
def test_selectors(case):
    if "output" in case:
        # kubectl's way to print a selector of an object.
        case["output"].pop("format", None)
    check(case, lambda: selector_output(case["input"]))


# --- names --------------------------------------------------------------------------------------------------------

NAMES = {
    "IsDNS1123Label": names.problems_of_dns1123_label,
    "IsDNS1123Subdomain": names.problems_of_dns1123_subdomain,
    "IsDNS1035Label": names.problems_of_dns1035_label,
    "IsQualifiedName": names.problems_of_qualified_name,
    "IsValidLabelValue": names.problems_of_label_value,
    "IsValidPathSegmentName": names.problems_of_path_segment,
    "SafeEncodeString": names.safe_encode,
}


@cases("names")
def test_names(case):
    check(case, lambda: NAMES[case["input"]["call"]](case["input"]["value"]))


# --- patches ------------------------------------------------------------------------------------------------------


def patch_output(given: dict[str, Any]) -> Any:
    original, change = json.loads(given["original"]), json.loads(given["patch"])
    if given["call"] == "MergePatch":
        return patch.merge_patch(original, change)
    if given["call"] == "JSONPatch":
        return patch.json_patch(original, change)
    kind = given["kind"]
    return strategicpatch.strategic_of_kind(original, change, API_VERSIONS.get(kind, "v1"), kind)[0]


@cases("patch")
def test_patches(case):
    if "output" in case:
        case["output"] = json.loads(case["output"])
    else:
        case["error"] = case["error"].removeprefix("decode: ")
    check(case, lambda: patch_output(case["input"]))


# --- YAML ---------------------------------------------------------------------------------------------------------


def as_json(value: Any) -> str:
    """Return Go's JSON of a loaded document."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{as_json(key)}:{as_json(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(as_json(item) for item in value) + "]"
    if isinstance(value, float):
        return yaml.float_text(value)
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026") if '"' in text else text


@cases("yaml")
def test_yaml(case):
    given = case["input"]
    if "json" in given:
        check(case, lambda: yaml.dump(json.loads(given["json"])))
    else:
        check(case, lambda: as_json(yaml.load(given["yaml"], strict=given["strict"])))
