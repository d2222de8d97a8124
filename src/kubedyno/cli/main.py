"""The `kubedyno` command: which verb, and what becomes of errors and Ctrl-C."""

import argparse
import errno
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from kubedyno import __version__
from kubedyno.base.errors import EXIT_INTERRUPTED, KubedynoError

# Verb → what it does. Each is a module of this package with `add_arguments(parser)` and `run(arguments) -> int`;
# only the chosen one is imported.
VERBS = {
    "study": "run the study's scenarios on the embedded cluster: load, the walls, why, and how to get past them",
    "init": "run the jobs of a kube-burner configuration",
    "explain": "say why pods do not run, what to change, and what stops them next",
    "report": "make a report of finished runs: HTML, Markdown, JUnit, JSON; check limits",
    "compare": "repeated runs against repeated runs: better, worse, same, or not enough data",
    "runs": "the store of finished runs: list, show, tag, prune, import",
    "watch": "nodes, pods and events of a cluster, live in a terminal",
    "view": "a live page of a cluster: nodes, pods, walls, and the run replayed",
    "metrics": "record a cluster's metrics, serve them as Prometheus would, ask them in PromQL",
    "dashboards": "Grafana dashboards of our own: list, export",
    "top": "what nodes and pods use, with or without a metrics-server",
    "cluster": "the embedded cluster: up, down, list, status, kubeconfig, kubelet",
    "simulate": "the cluster on simulated time, from one seed, with faults: what must hold, held",
    "statedb": "a running cluster's tables: list, show, get, prefix, watch",
    "experiment": "demonstrations: reconciler (a BPF map past its size)",
    "net": "network datapaths: compare them on this kernel, without a cluster",
    "plan": "what a configuration would do: objects, requests over time, what the cluster cannot hold; sends no load",
    "measure": "measure what others create, without a load of our own",
    "index": "query a Prometheus by metric profiles and store the documents",
    "check-alerts": "evaluate an alert profile against a Prometheus",
    "import": "store the documents of a tarball",
    "health-check": "say whether a cluster is fit for a run",
    "completion": "a completion script for bash, zsh or fish",
    "destroy": "delete what the jobs of a configuration created",
    "advise": "what to tune: findings with evidence, effect, requirements, values and commands",
    "maps": "Cilium's BPF map sizes from memory, ratio and CPUs, and the way back",
    "features": "Kubernetes features by version, and which of them a cluster has",
    "migrate": "Endpoints to EndpointSlices, and who still uses Endpoints",
    "kyaml": "YAML, JSON or KYAML to KYAML or block YAML, comments kept",
    "probe": "what this host's kernel and devices can do, found by trying",
    "version": "print the version",
}
# No room left: nothing that a traceback would help with.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Parser(argparse.ArgumentParser):
    """argparse with kube-burner's exit code 1 for a wrong command line, in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_closed_streams()
    # A terminal that has no "→" gets a "?".
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = _dispatch(words)
        # Here, not at the interpreter's end: what keeps output from being written is told as below.
        sys.stdout.flush()
    except KubedynoError as error:
        _tell(str(error))
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (`| head`): die as other tools do.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno not in _FULL:
            raise
        print(f"kubedyno: {error.filename or 'output'}: cannot be written ({error.strerror})", file=sys.stderr)
        # What is still buffered cannot be written at the exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        line = _refusal(error)
        if line is None:
            raise
        _tell(line)
        return 1
    except KeyboardInterrupt:
        print("kubedyno: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return code


def _open_closed_streams() -> None:
    """Give a process that was started without stdin, stdout or stderr (`>&-`) a null one: else a socket gets its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - as the interpreter's


def _tell(line: str) -> None:
    """Print why there is no result; what a cluster says of itself in it must not act on the terminal."""
    from kubedyno.base.terminal import printable_lines

    print(f"kubedyno: {printable_lines(line)}", file=sys.stderr)


def _refusal(error: Exception) -> str | None:
    """Return the line for an API server's "no" that no verb foresaw; None for our own mistakes, which keep their trace."""
    # Imported late: a command line that fails for other reasons need not wait for the API's vocabulary.
    from kubedyno.kube.status import StatusError

    if not isinstance(error, StatusError):
        return None
    return f"the API server answers {error.code}{f' {error.reason}' if error.reason else ''}: {error.message}"


def _dispatch(words: list[str]) -> int:
    # Flags before the verb (`kubedyno --log-level debug init`) belong to it, as in kube-burner.
    verb = words[0] if words and not words[0].startswith("-") else next((w for w in words if w in VERBS), None)
    if verb in VERBS:
        words.remove(verb)
        module = importlib.import_module(f"kubedyno.cli.{module_of(verb)}")
        parser = Parser(prog=f"kubedyno {verb}", description=f"kubedyno {verb}: {VERBS[verb]}")
        module.add_arguments(parser)
        if verb == "compare":
            # The two sides are told apart by a "--" that argparse would swallow.
            words, after = module.split(words)
            parser.set_defaults(after=after)
        return int(module.run(parser.parse_args(words)))
    parser = Parser(
        prog="kubedyno",
        description="A dynamometer for Kubernetes and Cilium: how much can this cluster take, what gives out first, "
        "what to tune.",
        epilog="verbs:\n" + "\n".join(f"  {name:<12} {text}" for name, text in VERBS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="kubedyno VERB [flags]",
    )
    parser.add_argument("--version", action="version", version=f"kubedyno {__version__}")
    if verb is not None:
        parser.error(f"unknown verb {verb!r}{_near(verb)}")
    parser.parse_args(words)
    parser.print_help(sys.stderr if words else sys.stdout)
    return 0 if not words else 1


def module_of(verb: str) -> str:
    """Return the module of a verb; a keyword of the language cannot be one."""
    return {"import": "imports"}.get(verb, verb.replace("-", "_"))


def _near(word: str) -> str:
    import difflib

    close = difflib.get_close_matches(word, VERBS, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
