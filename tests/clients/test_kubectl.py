"""The study's kubectl lines and everyday ones, on a real cluster, compared with what they print on any cluster."""

import shutil
from pathlib import Path

import pytest

from clients import transcripts

TRANSCRIPTS = sorted((Path(__file__).parent / "kubectl").glob("*.txt"))
STUDY = Path(__file__).parents[2] / "examples" / "study"
# Lines of the study that need real processes or Cilium; others of the tests run these.
_ELSEWHERE = ("iperf3 -c", "logs -l app=iperf3-server -f", "cilium", "cilium-operator")
pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("kubectl") is None, reason="there is no kubectl here; the development requirements bring one"
    ),
]


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_kubectl_prints_what_people_know(kubeconfig, tmp_path, path):
    for manifest in STUDY.glob("*.yaml"):
        shutil.copy(manifest, tmp_path)
    config = tmp_path / "config"
    config.write_text(kubeconfig.read_text().replace("user: ", f"namespace: {path.stem}\n    user: ", 1))
    environment = {"KUBECONFIG": str(config), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    if path.stem != "creating":
        made = transcripts.Step(f"kubectl create namespace {path.stem} > /dev/null", 0)
        assert transcripts.run(made, tmp_path, environment) is None
    wrong = [
        f"{path.name}:{step.line}: {found}"
        for step in transcripts.read(path)
        if (found := transcripts.run(step, tmp_path, environment)) is not None
    ]
    transcripts.run(transcripts.Step(f"kubectl delete namespace {path.stem}", 0), tmp_path, environment)
    assert not wrong, "\n\n".join(wrong)


def test_every_line_of_the_study_that_needs_no_process_and_no_cilium_is_among_them():
    text = (Path(__file__).parent / "kubectl" / "study.txt").read_text()
    known = {line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")}
    lines = [line for line in (STUDY / "kubectl-commands.txt").read_text().splitlines() if line.startswith("kubectl")]
    assert len(lines) > 35
    missing = [line for line in lines if line not in known and not any(word in line for word in _ELSEWHERE)]
    assert missing == []
