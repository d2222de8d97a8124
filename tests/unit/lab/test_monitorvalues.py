import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.settings import MonitoringSettings
from kubedyno.lab import monitorvalues

STUDY = """
prometheus:
  prometheusSpec:
    scrapeInterval: "5s"
    evaluationInterval: "30s"
  service:
    type: NodePort
    nodePort: 30011
grafana:
  defaultDashboardsTimezone: Asia/Seoul
  adminPassword: secret
  service: {type: NodePort, nodePort: 30012}
alertmanager: {enabled: false}
defaultRules: {create: false}
prometheus-windows-exporter: {prometheus: {monitor: {enabled: false}}}
"""


def test_the_study_s_values_act_without_a_warning():
    settings, warnings = monitorvalues.parse(STUDY, "v.yaml")
    assert settings == MonitoringSettings(5.0, 30.0, 30011, 30012, "Asia/Seoul", "secret")
    assert warnings == []


def test_what_has_no_effect_is_named_with_its_line():
    text = "alertmanager:\n  enabled: true\nprometheus:\n  prometheusSpec:\n    replicas: 2\nx: 1\n"
    _, warnings = monitorvalues.parse(text, "v.yaml")
    assert warnings == [
        "alertmanager.enabled (line 2) has no effect here: there is none of it",
        "prometheus.prometheusSpec.replicas (line 5) has no effect here",
        "x (line 6) has no effect here",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prometheus: {prometheusSpec: {scrapeInterval: soon}}", "scrapeInterval is 'soon'"),
        ("prometheus: {prometheusSpec: {scrapeInterval: 10ms}}", "must be between 1s and 1h"),
        ("prometheus: {service: {nodePort: 80}}", "nodePort"),
        ("grafana: {defaultDashboardsTimezone: Mars/Base}", "no such time zone"),
        ("grafana: 5", "grafana must be a mapping"),
        (
            "prometheus: {service: {nodePort: 30005}}\ngrafana: {service: {nodePort: 30005}}",
            "both ask for NodePort 30005",
        ),
        ("- a", "holds no values"),
    ],
)
def test_a_wrong_value_is_one_line(text, said):
    with pytest.raises(KubedynoError, match=r"v\.yaml") as error:
        monitorvalues.parse(text, "v.yaml")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
