"""`kubedyno migrate endpoints`: Endpoints to EndpointSlices in files, directories and clusters, and who uses them."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.cli.init import add_target_flags

# Larger files are no manifests nor code.
MAX_FILE_B = 8_000_000
_BOOTSTRAPPED = "kubernetes.io/bootstrapping"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the one thing that is migrated, and its flags."""
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    things = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    parser = things.add_parser("endpoints", help="Endpoints to EndpointSlices")
    parser.add_argument("path", nargs="*", help="files and directories; - is standard input")
    parser.add_argument("--find", action="store_true", help="say who reads or writes Endpoints instead of converting")
    parser.add_argument("--write", action="store_true", help="change the files instead of printing")
    parser.add_argument("--cluster", action="store_true", help="the Endpoints of a cluster that no controller makes")
    parser.add_argument("--max-endpoints", type=int, default=100, metavar="N", help="of a slice (default %(default)s)")
    parser.add_argument("--metrics", metavar="FILE", help="with --find: an API server's /metrics")
    parser.add_argument("--audit-log", metavar="FILE", help="with --find: an audit log, one JSON event a line")
    parser.add_argument(
        "-o", "--output", choices=("yaml", "kyaml", "json"), default="yaml", help="of what is printed (%(default)s)"
    )
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Convert or find; exit code 2 when --find finds users, 1 when a file could not be converted."""
    from kubedyno.advisor import endpoints

    if not 1 <= arguments.max_endpoints <= endpoints.API_MAX:
        raise KubedynoError(f"--max-endpoints {arguments.max_endpoints}: between 1 and {endpoints.API_MAX}")
    others = arguments.metrics or arguments.audit_log
    if not arguments.path and not arguments.cluster and not (arguments.find and others):
        raise KubedynoError("migrate endpoints: give files, directories or --cluster")
    if others and not arguments.find:
        raise KubedynoError("--metrics and --audit-log are read by --find only")
    if arguments.output != "yaml" and (arguments.write or arguments.find):
        raise KubedynoError(
            f"-o {arguments.output}: is of what is printed; --write keeps a file's form, --find has none"
        )
    return _find(arguments) if arguments.find else _convert(arguments)


def _texts(paths: list[str], suffixes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in paths:
        if name == "-":
            yield "standard input.yaml", sys.stdin.read()
            continue
        path = Path(name)
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.suffix.lower() in suffixes and file.is_file() and ".git" not in file.parts:
                    text = _text(file, must=False)
                    if text is not None:
                        yield str(file), text
        else:
            text = _text(path, must=True)
            if text is not None:
                yield name, text


def _text(path: Path, *, must: bool) -> str | None:
    """Return a file's text; of what cannot be read in a directory only a line is told, and None."""
    try:
        if path.stat().st_size > MAX_FILE_B:
            said = f"{path}: larger than {MAX_FILE_B} bytes"
        else:
            return path.read_text()
    except UnicodeDecodeError as error:
        said = f"{path}: not UTF-8 at byte {error.start}"
    except OSError as error:
        said = f"{path}: {error.strerror}"
    if must:
        raise KubedynoError(said)
    print(f"kubedyno: {said}, left out", file=sys.stderr)
    return None


def _convert(arguments: argparse.Namespace) -> int:
    from kubedyno.advisor import endpoints

    count = slices = failed = 0
    printed: list[str] = []
    for path, text in _texts(arguments.path, (".yaml", ".yml", ".json")):
        if "Endpoints" not in text:
            continue
        try:
            made = endpoints.convert_text(text, path, limit=arguments.max_endpoints)
        except KubedynoError as error:
            # The other files are converted all the same; this one stays as it is.
            print(f"kubedyno: {error}", file=sys.stderr)
            failed += 1
            continue
        if not made.count:
            continue
        for note in made.notes:
            print(f"kubedyno: {note}", file=sys.stderr)
        count += made.count
        slices += made.slices
        if arguments.write and not path.startswith("standard input"):
            _write(Path(path), made.text)
        else:
            printed.append(made.text)
    if arguments.cluster:
        for note, text, number in _of_cluster(arguments):
            print(f"kubedyno: {note}", file=sys.stderr)
            if text:
                printed.append(text)
                count += 1
                slices += number
    _print(printed, arguments.output)
    left = f"; {failed} files could not be converted" if failed else ""
    print(f"kubedyno: {count} Endpoints became {slices} EndpointSlices{left}", file=sys.stderr)
    return 1 if failed else 0


def _write(path: Path, text: str) -> None:
    """Write a converted text back; a JSON file stays JSON, a List where one object became several."""
    if path.suffix.lower() == ".json":
        import orjson

        from kubedyno.kube import yaml

        found = [one for one in yaml.load_all(text, str(path)) if one is not None]
        whole = found[0] if len(found) == 1 else {"apiVersion": "v1", "kind": "List", "items": found}
        text = orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    try:
        path.write_text(text)
    except OSError as error:
        raise KubedynoError(f"{path}: {error.strerror}") from error


def _print(texts: list[str], output: str) -> None:
    from kubedyno.kube import kyaml, yaml

    text = "".join(
        part if number == 0 or part.startswith("---") else "---\n" + part for number, part in enumerate(texts)
    )
    if output == "kyaml" and text:
        text = kyaml.encode_file(text, "what was made")
    elif output == "json":
        import orjson

        objects = [one for one in yaml.load_all(text, "what was made") if one is not None]
        text = "".join(orjson.dumps(one, option=orjson.OPT_INDENT_2).decode() + "\n" for one in objects)
    sys.stdout.write(text)


def _of_cluster(arguments: argparse.Namespace) -> list[tuple[str, str, int]]:
    from kubedyno.advisor import endpoints

    found, services, _ = _read_cluster(arguments, roles=False)
    result: list[tuple[str, str, int]] = []
    if found and not services:
        # Every cluster has Service kubernetes: they could not be read.
        return [("without Services nobody knows whose slices are made already: nothing is converted", "", 0)]
    for one in found:
        metadata = one["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        where = f"{key[0]}/{key[1]}"
        if key not in services:
            result.append((f"{where}: has no Service: nobody is led to it, left out", "", 0))
            continue
        if (services[key].get("spec") or {}).get("selector"):
            continue  # the controllers make both
        if (metadata.get("labels") or {}).get(endpoints.SKIP_MIRROR) == "true":
            result.append((f"{where}: {'; '.join(endpoints.notes_of(one))}, left out", "", 0))
            continue
        clean = {
            field: metadata[field] for field in ("name", "namespace", "labels", "annotations") if field in metadata
        }
        try:
            slices = endpoints.slices_of({**one, "metadata": clean}, limit=arguments.max_endpoints)
        except endpoints.NotConvertible as error:
            result.append((f"{where}: {error}", "", 0))
            continue
        text = "---\n".join(endpoints.write(part) for part in slices)
        result.append((f"{where}: {'; '.join(endpoints.notes_of(one))}", text, len(slices)))
    return result


def _read_cluster(arguments: argparse.Namespace, *, roles: bool) -> tuple[list[Any], dict[tuple[str, str], Any], str]:
    from kubedyno.base import aio
    from kubedyno.client.api import Client
    from kubedyno.kube.status import StatusError
    from kubedyno.lab import target

    choice = target.choose(arguments.kubeconfig, arguments.kube_context)

    async def read() -> tuple[list[Any], dict[tuple[str, str], Any], str]:
        async with Client(choice.target) as client:
            await target.greet(client)

            async def items(path: str, kind: str) -> list[Any]:
                try:
                    return list(await client.list_all(path))
                except StatusError as error:
                    print(f"kubedyno: {kind}: not read ({error.message})", file=sys.stderr)
                    return []

            found = []
            wanted = [("/api/v1/endpoints", "v1", "Endpoints")]
            if roles:
                group = "rbac.authorization.k8s.io/v1"
                wanted += [
                    (f"/apis/{group}/clusterroles", group, "ClusterRole"),
                    (f"/apis/{group}/roles", group, "Role"),
                ]
            for path, version, kind in wanted:
                found += [{"apiVersion": version, "kind": kind, **item} for item in await items(path, kind)]
            services = {
                (item["metadata"].get("namespace", ""), item["metadata"]["name"]): item
                for item in await items("/api/v1/services", "Service")
            }
            metrics = await client.request("GET", "/metrics") if roles else None
            if metrics is not None and metrics.status != 200:
                print(f"kubedyno: /metrics: not read (answered {metrics.status})", file=sys.stderr)
            return found, services, metrics.body.decode() if metrics and metrics.status == 200 else ""

    return aio.run(read())


def _find(arguments: argparse.Namespace) -> int:
    from kubedyno.advisor import endpointusers

    uses: list[endpointusers.Use] = []
    for path, text in _texts(arguments.path, endpointusers.SUFFIXES):
        uses += endpointusers.in_text(text, path)
    if arguments.metrics:
        uses += endpointusers.in_metrics(_text(Path(arguments.metrics), must=True) or "", arguments.metrics)
    if arguments.audit_log:
        uses += endpointusers.in_audit_log(_text(Path(arguments.audit_log), must=True) or "", arguments.audit_log)
    if arguments.cluster:
        found, services, metrics = _read_cluster(arguments, roles=True)
        own = 0
        for one in found:
            metadata = one["metadata"]
            key = (metadata.get("namespace", ""), metadata["name"])
            if (metadata.get("labels") or {}).get(_BOOTSTRAPPED) == "rbac-defaults":
                own += any(True for _ in endpointusers.in_object(one, ""))
                continue  # the API server writes them anew at each start
            if one["kind"] == "Endpoints" and (services.get(key, {}).get("spec") or {}).get("selector"):
                continue  # made by the controller, with slices beside
            uses += endpointusers.in_object(one, f"{key[0]}/{key[1]}" if key[0] else key[1])
        uses += endpointusers.in_metrics(metrics, "/metrics")
        if own:
            print(
                f"kubedyno: {own} of Kubernetes' own roles allow endpoints: they come with its version", file=sys.stderr
            )
    for use in uses:
        place = f"{use.path}:{use.line}" if use.line else use.path
        print(f"{place}: {use.what}\n  do: {use.change}")
    print(f"{len(uses)} uses of Endpoints (deprecated since Kubernetes 1.33)")
    return 2 if uses else 0
