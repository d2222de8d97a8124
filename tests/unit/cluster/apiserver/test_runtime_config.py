"""--runtime-config: versions of APIs come and go, in discovery, OpenAPI and paths alike."""

from typing import Any

import pytest

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.registry.runtimeconfig import _AS_V1, RuntimeConfig, parse
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.kube import protobuf
from kubedyno.kube.resources import ALL, PODS, by_plural, vocabulary
from unit.cluster.apiserver.harness import NS, Api, running

PROTOBUF = "application/vnd.kubernetes.protobuf"
AGGREGATED = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
CIDRS = "/apis/networking.k8s.io/v1beta1/servicecidrs"


def api_of(said: str) -> Any:
    return running(ClusterSettings(runtime_config=parse(said)))


def versions(api: Api, group: str) -> list[str]:
    groups = {each["name"]: each for each in api.call("GET", "/apis").json["groups"]}
    return [v["version"] for v in groups[group]["versions"]] if group in groups else []


def test_what_is_switched_off_leaves_discovery_openapi_and_paths():
    async def run() -> None:
        async with api_of("batch/v1=false,apps/v1/statefulsets=false,autoscaling/v1=false") as api:
            assert versions(api, "batch") == []
            assert versions(api, "autoscaling") == ["v2"]
            assert api.call("GET", f"/apis/batch/v1/namespaces/{NS}/jobs").status == 404
            names = {r["name"] for r in api.call("GET", "/apis/apps/v1").json["resources"]}
            assert "deployments" in names
            assert "statefulsets" not in names
            assert api.call("GET", f"/apis/apps/v1/namespaces/{NS}/statefulsets").status == 404
            items = api.call("GET", "/apis", headers=AGGREGATED).json["items"]
            assert "batch" not in {item["metadata"]["name"] for item in items}
            paths = api.call("GET", "/openapi/v3").json["paths"]
            assert "apis/batch/v1" not in paths
            assert "apis/apps/v1" in paths

    aio.run(run())


def test_a_beta_version_shows_the_objects_of_v1():
    async def run() -> None:
        async with api_of("networking.k8s.io/v1beta1=true") as api:
            assert versions(api, "networking.k8s.io") == ["v1", "v1beta1"]
            body = {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.99.0.0/24"]}}
            made = api.call("POST", CIDRS, body)
            assert made.status == 201
            assert made.json["apiVersion"] == "networking.k8s.io/v1beta1"
            warning = '299 - "networking.k8s.io/v1beta1 ServiceCIDR is deprecated in v1.34+, unavailable in v1.37+"'
            assert made.header("warning") == [warning]
            same = api.call("GET", CIDRS.replace("v1beta1", "v1") + "/more").json
            assert same["apiVersion"] == "networking.k8s.io/v1"
            assert same["metadata"]["uid"] == made.json["metadata"]["uid"]
            applied = api.call(
                "PATCH", f"{CIDRS}/more?fieldManager=m", {"apiVersion": "networking.k8s.io/v1beta1", "kind": "ServiceCIDR",
                "metadata": {"name": "more", "labels": {"a": "b"}}}, {"content-type": "application/apply-patch+yaml"},
            )  # fmt: skip
            assert applied.status == 200
            assert api.call("GET", CIDRS.replace("v1beta1", "v1") + "/more").json["metadata"]["labels"] == {"a": "b"}
            table = api.call("GET", CIDRS, headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}).json
            assert [row["cells"][0] for row in table["rows"]] == ["more"]
            assert "apis/networking.k8s.io/v1beta1" in api.call("GET", "/openapi/v3").json["paths"]
            assert api.call("GET", "/openapi/v3/apis/networking.k8s.io/v1beta1").status == 200
            answer = api.call("GET", f"{CIDRS}/more", headers={"accept": PROTOBUF})
            assert protobuf.decode(answer.body)["spec"] == {"cidrs": ["10.99.0.0/24"]}
            sent = {
                "apiVersion": "networking.k8s.io/v1beta1",
                "kind": "ServiceCIDR",
                **body,
                "metadata": {"name": "sent"},
            }
            answer = api.call("POST", CIDRS, protobuf.encode(sent), {"content-type": PROTOBUF})
            assert (answer.status, answer.json["spec"]) == (201, body["spec"])

    aio.run(run())


def test_beta_versions_are_not_there_unless_wanted():
    async def run() -> None:
        async with running() as api:
            assert versions(api, "networking.k8s.io") == ["v1"]
            assert api.call("GET", CIDRS).status == 404

    aio.run(run())


def test_every_version_that_is_another_name_of_v1_has_its_fields():
    types, kinds = vocabulary()["types"], vocabulary()["kinds"]

    def shape(name: str, within: tuple[str, ...] = ()) -> Any:
        """Return a type with those of its fields written out; whether a list is owned as a whole may differ."""
        if name not in types or name in within:
            return name.rpartition(".")[2] or name
        return {key: part(value, (*within, name)) for key, value in types[name].items() if key != "a"}

    def part(value: Any, within: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return {key: part(each, within) for key, each in value.items()}
        if isinstance(value, list):
            return [part(each, within) for each in value]
        return shape(value[1:], within) if isinstance(value, str) and value.startswith("#") else value

    for resource, of in RuntimeConfig({"api/all": True}).more():
        assert resource.api_version in _AS_V1
        assert resource.verbs == of.verbs
        mine, theirs = (shape(kinds[f"{r.api_version}/{r.kind}"]) for r in (resource, of))
        assert isinstance(mine, dict)
        assert mine == theirs, resource


def test_what_says_more_wins():
    config = RuntimeConfig(parse("api/all=false,api/ga=true,v1/pods=false,api/beta=true,resource.k8s.io/v1beta2=false"))
    assert config.hides(PODS)
    jobs = by_plural("batch", "v1", "jobs")
    assert jobs is not None
    assert not config.hides(jobs)
    assert {r.api_version for r, _ in config.more()} == {
        "admissionregistration.k8s.io/v1beta1", "networking.k8s.io/v1beta1", "storage.k8s.io/v1beta1",
    }  # fmt: skip
    assert "resource.k8s.io/v1beta1 (deviceclasses, resourceclaims, resourceclaimtemplates, resourceslices)" in (
        config.unserved()
    )


def test_everything_that_exists_is_served_or_named():
    config = RuntimeConfig(parse("api/all"))
    served = {id(resource) for resource, _ in config.more()}
    named = {line.partition(" ")[0]: line.partition("(")[2].rstrip(")").split(", ") for line in config.unserved()}
    for resource in ALL:
        if "alpha" in resource.version or "beta" in resource.version:
            assert (id(resource) in served) is not (resource.plural in named.get(resource.api_version, ())), resource


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("api/all=false", "invalid key with only api/all=false"),
        ("foo.io/v1=true,bar.io/v1=true", "unknown api groups bar.io,foo.io"),
        ("apps/v9=true", "group version apps/v9 that has not been registered; versions of apps: v1"),
        ("apps/v1=maybe", "invalid value of apps/v1: maybe"),
        ("apps=true", "invalid key apps"),
        ("apps/v1/jobs=true", "apps/v1 has no resource jobs"),
    ],
)
def test_what_no_server_takes_is_one_line(text, problem):
    with pytest.raises(KubedynoError, match=problem) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
