import pytest

from kubedyno.kube.semver import Version

ORDER = [
    "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
    "1.0.0", "1.9.0", "1.10.0",
]  # fmt: skip


def test_versions_are_ordered_as_semver_org_orders_them():
    assert sorted(map(Version.parse, reversed(ORDER))) == [Version.parse(text) for text in ORDER]


def test_a_build_tells_no_version_from_another_and_is_written():
    assert Version.parse("1.2.3-a+b.1") == Version.parse("1.2.3-a+c")
    assert str(Version.parse("1.2.3-a+b.1")) == "1.2.3-a+b.1"


@pytest.mark.parametrize(
    "text", ["1.2", "v1.2.3", "1.02.3", "1.2.3-01", "1.2.3-a..b", "1.2.3+", "1.2.3 ", "", "\u0661.2.3"]
)
def test_what_is_no_version_is_refused(text):
    with pytest.raises(ValueError, match="invalid semantic version"):
        Version.parse(text)


@pytest.mark.parametrize(("text", "meant"), [("v1", "1.0.0"), ("01.2", "1.2.0"), ("v1.2.3-rc.1+x", "1.2.3-rc.1+x")])
def test_normalizing_takes_what_people_write(text, meant):
    assert str(Version.parse(text, normalize=True)) == meant
