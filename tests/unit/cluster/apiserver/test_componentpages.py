"""What a server says of itself: its start and flags, its checks and how they went, its documents by their tags."""

import pytest

from kubedyno.base import aio
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.kube import yaml
from unit.cluster.apiserver.harness import running

STATUSZ = "application/json;v=v1beta1;g=config.k8s.io;as=Statusz"


def test_statusz_is_a_text_unless_a_version_of_it_is_asked_for(api):
    api.clock.now_s += 3725
    answer = api.call("GET", "/statusz")
    lines = answer.body.decode().splitlines()
    assert (answer.media, lines[1], lines[5]) == (
        "text/plain; charset=utf-8", "apiserver statusz", "Up: 1 hr 02 min 05 sec",
    )  # fmt: skip
    answer = api.call("GET", "/statusz", headers={"accept": STATUSZ})
    assert answer.media == "application/json;g=config.k8s.io;v=v1beta1;as=Statusz"
    assert (answer.json["uptimeSeconds"], answer.json["emulationVersion"]) == (3725, "1.36")
    refused = api.call("GET", "/statusz", headers={"accept": "application/json"})
    text = "only the following media types are accepted: application/json, application/yaml, text/plain"
    assert (refused.status, refused.json["message"]) == (406, text)


def test_flagz_says_what_the_cluster_was_told(api):
    assert "authorization-mode [Node,RBAC]\n" in api.call("GET", "/flagz").body.decode()
    media = {"accept": "application/yaml;v=v1alpha1;g=config.k8s.io;as=Flagz"}
    document = yaml.load(api.call("GET", "/flagz", headers=media).body.decode())
    assert (document["apiVersion"], document["flags"]["max-requests-inflight"]) == ("config.k8s.io/v1alpha1", "400")


def test_before_1_36_there_is_neither():
    async def scene() -> None:
        async with running(ClusterSettings(version="1.35")) as api:
            assert [api.call("GET", path).status for path in ("/statusz", "/flagz")] == [404, 404]
            assert not {"/statusz", "/flagz"} & set(api.call("GET", "/").json["paths"])

    aio.run(scene())


def test_a_server_s_version_in_what_is_accepted_is_none_that_there_is(api):
    assert api.call("GET", "/api/v1/nodes", headers={"accept": "application/json;sv=x"}).status == 406


def test_each_check_is_counted_as_it_went(api):
    for _ in range(2):
        api.call("GET", "/readyz")
    api.call("GET", "/livez/ping")
    lines = api.call("GET", "/metrics/slis").body.decode().splitlines()
    assert 'kubernetes_healthcheck{name="ping",type="livez"} 1' in lines
    assert 'kubernetes_healthcheck{name="informer-sync",type="readyz"} 0' in lines
    assert 'kubernetes_healthchecks_total{name="informer-sync",status="error",type="readyz"} 2' in lines


@pytest.mark.parametrize(
    ("tags", "status"),
    [("{tag}", 304), ("W/{tag}", 304), ('"x", {tag}', 304), ("*", 304), ('"x"', 200), ("", 200)],
)
def test_who_has_a_document_by_one_of_its_tags_gets_no_other(api, tags, status):
    path = "/openapi/v3/apis/apps/v1"
    tag = api.call("GET", path).header("etag")[0]
    assert api.call("GET", path, headers={"if-none-match": tags.format(tag=tag)}).status == status


@pytest.mark.parametrize(
    ("asked", "status", "begin", "end"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=5-", 206, 5, None),
        ("bytes=-7", 206, -7, None),
        ("bytes=0-1,4-5", 200, 0, None),
    ],
)
def test_a_part_of_a_document_may_be_asked_for(api, asked, status, begin, end):
    whole = api.call("GET", "/openapi/v3").body
    answer = api.call("GET", "/openapi/v3", headers={"range": asked})
    assert (answer.status, answer.body) == (status, whole[begin:end])


def test_a_part_beyond_the_end_is_none(api):
    assert api.call("GET", "/openapi/v3", headers={"range": "bytes=99999999-"}).status == 416
