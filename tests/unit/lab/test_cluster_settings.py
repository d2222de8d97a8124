import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.lab.settings import cluster_settings


def test_private_registries_have_a_host_and_a_login() -> None:
    made, _ = cluster_settings(private_registries=["a.example/team=u:p:=x", "b.example:5000=v:w"])
    assert made.private_registries == (("a.example/team", "u", "p:=x"), ("b.example:5000", "v", "w"))


@pytest.mark.parametrize("text", ["", "a", "a=b", "a=:p", "a=u:", "=u:p", "https://a=u:p"])
def test_a_registry_that_is_none_is_told_without_its_password(text: str) -> None:
    with pytest.raises(KubedynoError, match=r"^--private-registry: write HOST\[/PATH\]=USER:PASSWORD") as failure:
        cluster_settings(private_registries=[text])
    assert text == "" or f"{text}:" not in str(failure.value)
