"""Who may see the page, and what it may load."""

import asyncio
import urllib.error
import urllib.request

import pytest

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.client.api import Client
from kubedyno.client.kubeconfig import Target
from kubedyno.web.feed import Feed
from kubedyno.web.server import SCRIPTS, Page
from ports import refusing_port


def ask(url, host=None, method="GET"):
    request = urllib.request.Request(url, method=method, headers={"host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def served(check):
    """Serve a page without a cluster and run a blocking check beside it."""

    async def why():
        raise ConnectionError("no cluster")

    async def told(namespace, name):
        return f"{namespace}/{name}".encode()

    async def run():
        with refusing_port() as port:
            async with Client(Target(f"https://127.0.0.1:{port}", "none")) as client:
                await run_with(client)

    async def run_with(client):
        page = Page(Feed(client, SYSTEM_CLOCK), "s3cret", why, told)
        url = await page.start(0)
        try:
            await asyncio.to_thread(check, url)
        finally:
            await page.close()

    asyncio.run(run())


def test_the_page_and_its_parts_are_served_with_a_strict_policy():
    def check(url):
        for name in ("", "style.css", *SCRIPTS):
            status, headers, body = ask(url + name)
            assert (status, bool(body)) == (200, True)
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"

    served(check)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost.evil.example", "[::1]"])
def test_a_request_by_another_name_is_refused(host):
    served(lambda url: _is(ask(url, host=host)[0], 421))


def test_localhost_is_this_host():
    served(lambda url: _is(ask(url, host="localhost:" + url.split(":")[2].split("/")[0])[0], 200))


def test_without_the_secret_there_is_nothing():
    served(lambda url: _is([ask(url.replace("s3cret", s))[0] for s in ("", "guess", "s3cret/../x")], [404] * 3))


def test_it_only_reads():
    served(lambda url: _is(ask(url, method="POST")[0], 405))


def test_a_cluster_that_does_not_answer_is_said():
    served(lambda url: _is(ask(url + "why")[0::2], (502, b"no cluster")))


def test_a_pod_is_asked_for_by_namespace_and_name():
    served(lambda url: _is(ask(url + "pod?namespace=a%2Fb&name=c%3Cd")[0::2], (200, b"a/b/c<d")))


def _is(found, wanted):
    assert found == wanted
