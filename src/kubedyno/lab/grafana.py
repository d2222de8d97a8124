"""Grafana: the files that provision our dashboards, and a Grafana of this machine run with them."""

import os
import shutil
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.base.files import write_whole
from kubedyno.promql.dashboards import DASHBOARDS, grafana, provisioning

# Where the distributions' packages put what is no command.
_HOMES = (Path("/usr/share/grafana"), Path("/usr/local/share/grafana"), Path("/opt/grafana"))


def export(directory: Path, url: str, timezone: str = "browser") -> list[Path]:
    """Write all dashboards, and what provisions them.

    Args:
        directory: Gets one JSON a dashboard, and `provisioning/`.
        url: Of the Prometheus that is asked.
        timezone: "browser", "utc" or a name such as Asia/Seoul.

    Returns:
        The files written.

    Raises:
        KubedynoError: A file cannot be written, or there is no such time zone or URL.
    """
    check_timezone(timezone, "--timezone")
    if not url.startswith(("http://", "https://")):
        raise KubedynoError(f"--url {url}: is no URL of a Prometheus; write for example http://127.0.0.1:9090")
    folder = directory.absolute()
    files = {
        f"{board.uid}.json": orjson.dumps(grafana(board, timezone), option=orjson.OPT_INDENT_2).decode() + "\n"
        for board in DASHBOARDS
    }
    for name, text in provisioning(url, str(folder)).items():
        files[f"provisioning/{name}"] = text
    written = []
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise KubedynoError(f"{path.parent}: cannot be made ({error.strerror})") from error
        write_whole(path, text)
        written.append(directory / name)
    return written


def check_timezone(name: str, where: str) -> None:
    """Raise KubedynoError unless a time zone is "browser", "utc" or one that this machine knows."""
    if name in {"browser", "utc", ""}:
        return
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise KubedynoError(
            f"{where} {name}: no such time zone; write browser, utc or a name such as Asia/Seoul"
        ) from error


def command(
    directory: Path, port: int, url: str, *, timezone: str, password: str
) -> tuple[list[str], dict[str, str]] | None:
    """Return the command line and environment that run this machine's Grafana, None when it has none.

    Args:
        directory: Its data and what provisions it; written here.
        port: On 127.0.0.1.
        url: Of the Prometheus.
        timezone: Of dashboards that name none.
        password: Of the user admin.
    """
    binary = shutil.which("grafana-server") or shutil.which("grafana")
    if binary is None:
        return None
    boards = directory / "dashboards"
    export(boards, url, timezone)
    home = next((path for path in _HOMES if (path / "conf").is_dir()), None)
    words = [binary] if binary.endswith("-server") else [binary, "server"]
    if home is not None:
        words += ["--homepath", str(home)]
    environment = {
        **os.environ,
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_PATHS_DATA": str(directory / "data"),
        "GF_PATHS_LOGS": str(directory / "log"),
        "GF_PATHS_PLUGINS": str(directory / "plugins"),
        "GF_PATHS_PROVISIONING": str(boards / "provisioning"),
        "GF_SECURITY_ADMIN_PASSWORD": password,
        "GF_USERS_DEFAULT_TIMEZONE": timezone,
        "GF_DATE_FORMATS_DEFAULT_TIMEZONE": timezone,
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(boards.absolute() / f"{DASHBOARDS[0].uid}.json"),
    }
    return words, environment
