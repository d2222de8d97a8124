"""Which cluster is worked on: what is said where there is none."""

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.lab import embedded, target
from kubedyno.lab.embedded import Running


def test_clusters_that_run_under_names_of_their_own_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(target, "given", lambda _: False)
    monkeypatch.setattr(embedded, "names", lambda: ["dead", "mine"])
    found = {"mine": Running("mine", tmp_path, 1, 2)}
    monkeypatch.setattr(embedded, "find", found.get)
    with pytest.raises(KubedynoError, match=rf"cluster up; mine runs: export KUBECONFIG={tmp_path}/kubeconfig$"):
        target.choose(None, None)
    found.clear()
    with pytest.raises(KubedynoError, match=r"with: kubedyno cluster up$"):
        target.choose(None, None)
