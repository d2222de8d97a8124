"""Flags of pods that are processes."""

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.lab.settings import cluster_settings


def test_runtime_datapath_and_images_become_settings(tmp_path):
    file = tmp_path / "images.yaml"
    file.write_text('mine/tool: [/opt/tool, "-v"]\n"*other": sh -c "a b"\n')
    made, _ = cluster_settings(runtime="netns", datapath="ebpf", images=file)
    assert (made.runtime, made.datapath) == ("netns", "ebpf")
    assert made.images == {"mine/tool": ["/opt/tool", "-v"], "*other": ["sh", "-c", "a b"]}
    assert cluster_settings()[0].runtime == "model"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"datapath": "ebpf"}, "add --runtime netns"),
        ({"runtime": "netns", "nodes": 65}, "at most 64 nodes, not 65"),
    ],
)
def test_what_does_not_go_together_is_refused(flags, words):
    with pytest.raises(KubedynoError, match=words):
        cluster_settings(**flags)


@pytest.mark.parametrize("text", ["a: 3", "[]", "a: [1]", "a: {", "a: 1\na: 2"])
def test_a_file_that_is_no_image_table_is_refused(tmp_path, text):
    file = tmp_path / "images.yaml"
    file.write_text(text)
    with pytest.raises(KubedynoError, match=r"images\.yaml"):
        cluster_settings(runtime="netns", images=file)
    with pytest.raises(KubedynoError, match="cannot be read"):
        cluster_settings(runtime="netns", images=tmp_path / "none")
