"""Scripts of simulated containers: what they answer, and how a wrong one is told."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.cluster.apiserver import execscript
from kubedyno.cluster.apiserver.execscript import Answer, LogScript, PortReply, ScriptError, filled, joined, parse
from kubedyno.cluster.apiserver.podlogs import Log, log_of

WHOLE = """
commands:
- command: "ls *"
  stdout: "bin\\n"
- command: [sh, -c, "exit 3"]
  exitCode: 3
  stderr: "bad\\n"
  delay: 250ms
- regex: "cat /(proc|etc)/.*"
  container: "s*"
  stdout: "sidecar\\n"
log: {rate: 2, lines: [one, two]}
ports:
- {port: 80, reply: "HTTP/1.1 204 No Content\\r\\n\\r\\n", delay: 1.5}
- {port: 22, greeting: "SSH-2.0-x\\r\\n"}
"""


def test_the_first_entry_that_fits_answers():
    script = parse(WHOLE, "here")
    assert script.answer("c", ["ls", "/"]) == Answer(b"bin\n")
    assert script.answer("c", ["sh", "-c", "exit 3"]) == Answer(b"", b"bad\n", 3, 0.25)
    assert script.answer("side", ["cat", "/etc/hosts"]).stdout == b"sidecar\n"
    assert script.log("c") == LogScript(("one", "two"), 2.0)
    assert script.port(80) == PortReply(80, b"HTTP/1.1 204 No Content\r\n\r\n", 1.5, greets=False)
    assert script.port(22) == PortReply(22, b"SSH-2.0-x\r\n", 0.0, greets=True)
    assert script.port(81) is None


@pytest.mark.parametrize(
    ("container", "words"),
    [("c", ["ls"]), ("c", ["sh", "-c", "exit", "3"]), ("c", ["cat", "/etc/hosts"]), ("c", []), ("c", ["x" * 5000])],
)
def test_what_is_not_mapped_exits_127_and_says_why(container, words):
    answer = parse(WHOLE, "here").answer(container, words)
    assert (answer.exit_code, answer.stdout) == (127, b"")
    assert b"not runnable on a simulated pod" in answer.stderr
    assert answer.stderr.endswith(b"\n")
    assert len(answer.stderr) < 5400


def test_a_list_alone_is_a_list_of_commands_and_json_is_yaml():
    assert parse('[{"command": "id", "stdout": "root"}]', "x").answer("c", ["id"]).stdout == b"root"


def test_earlier_scripts_go_before_later_ones():
    first, second = (parse(f"[{{command: id, stdout: {text}}}]", "x") for text in ("a", "b"))
    assert joined([first, second]).answer("c", ["id"]).stdout == b"a"


def test_placeholders_are_filled_and_others_stay():
    values = {"POD": b"web", "STDIN": b"${POD}"}
    assert filled(b"${POD} ${STDIN} ${ROWS} ${HOME} $POD", values) == b"web ${POD} ${ROWS} ${HOME} $POD"


WRONG = {
    "a: [": "x: ",
    "7": "x: should be a mapping with commands, log, ports",
    "comands: []": "x: unknown field 'comands'; known are commands, log, ports",
    "commands: {}": "x: commands: should be a list",
    "[7]": "x: commands[0]: should be a mapping",
    "[{stdout: a}]": "x: commands[0]: needs one of command and regex",
    "[{command: a, regex: a}]": "x: commands[0]: needs one of command and regex",
    "[{command: []}]": "x: commands[0].command: should be",
    "[{command: [1]}]": "x: commands[0].command: should be",
    "[{command: a}, {regex: '('}]": "x: commands[1].regex: ",
    "[{command: a, exitCode: 256}]": "x: commands[0].exitCode: should be a whole number from 0 to 255, not 256",
    "[{command: a, exitCode: true}]": "x: commands[0].exitCode: ",
    "[{command: a, exitCode: 1.5}]": "x: commands[0].exitCode: ",
    "[{command: a, delay: 1x}]": "x: commands[0].delay: time: unknown unit",
    "[{command: a, delay: -1}]": "x: commands[0].delay: ",
    "[{command: a, delay: 2h}]": "x: commands[0].delay: should be a number from 0 to 3600",
    "[{command: a, stdout: 1}]": "x: commands[0].stdout: should be a text, not 1",
    "log: {rate: 5}": "x: log[0].lines: ",
    "log: {lines: [a], rate: 1e9}": "x: log[0].rate: ",
    "log: {lines: [a], rate: .nan}": "x: ",
    "ports: [{port: 0, reply: a}]": "x: ports[0].port: ",
    "ports: [{port: 70000, reply: a}]": "x: ports[0].port: ",
    "ports: [{port: 80}]": "x: ports[0]: needs one of reply and greeting",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_script_is_told_with_its_place(text):
    with pytest.raises(ScriptError) as caught:
        parse(text, "x")
    assert str(caught.value).startswith(WRONG[text])


def test_expressions_of_a_script_have_a_bound_together():
    with pytest.raises(ScriptError, match="states together"):
        parse("\n".join(f"- regex: 'a{{400}}{n}'" for n in range(11)), "x")


@given(st.text("[]{}:-, abc019\n\"'", max_size=40))
def test_any_text_is_a_script_or_a_script_error(text):
    with suppress(ScriptError):
        parse(text, "x")


@pytest.mark.parametrize(("text", "name"), [("my-scripts", True), (" a.b\n", True), ("[]", False), ("a: b", False)])
def test_a_plain_word_names_a_configmap(text, name):
    assert execscript.is_name(text) is name


# --- logs --------------------------------------------------------------------------------------------------------------

START, START_S = "2026-11-25T01:00:00Z", 1_795_568_400.0


def pod(state, **annotations):
    return {
        "metadata": {"name": "p", "annotations": annotations},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]},
        "status": {"containerStatuses": [{"name": "c", "state": state}]},
    }


def test_a_log_with_a_rate_grows_and_is_the_same_for_all_its_readers():
    log = Log(("one", "two", "three"), 2.0, START)
    assert (log.count(START_S - 5), log.count(START_S), log.count(START_S + 0.5), log.count(START_S + 10)) == (
        0,
        0,
        1,
        20,
    )
    assert log.written(START_S + 2) == [
        ("2026-11-25T01:00:00Z", "one"), ("2026-11-25T01:00:01Z", "two"), ("2026-11-25T01:00:01Z", "three"),
        ("2026-11-25T01:00:02Z", "one"),
    ]  # fmt: skip
    assert log.between(1, 3) == log.written(START_S + 2)[1:3]


def test_a_log_is_kept_only_so_long():
    lines = Log(("a",), 1000.0, START).written(START_S + 3600)
    assert len(lines) == 10_000
    assert lines[-1][0] == "2026-11-25T02:00:00Z"


def test_a_log_ends_with_its_container():
    ended = {"terminated": {"startedAt": START, "finishedAt": "2026-11-25T01:00:03Z"}}
    log = log_of(pod(ended), {"name": "c"}, parse("log: {lines: [x], rate: 1}", "x"))
    assert log.count(START_S + 100) == 3


def test_without_a_script_the_log_is_the_annotations_or_the_start():
    running = {"running": {"startedAt": START}}
    spec = {"name": "c", "image": "i"}
    assert log_of(pod(running), spec, execscript.EMPTY).written(START_S) == [
        (START, "container c started from image i")
    ]
    own = pod(running, **{"kubedyno.io/log": "a\nb"})
    assert [line for _, line in log_of(own, spec, execscript.EMPTY).written(START_S)] == ["a", "b"]
