"""gRPC's health check (grpc.health.v1.Health/Check) as a kubelet asks it: one call over HTTP/2 in clear text.

Request and answer are one field each, so no message types are needed.
"""

from kubedyno.http.client import Pool
from kubedyno.http.exchange import Result
from kubedyno.kube.protobufwriting import block

_PATH = "/grpc.health.v1.Health/Check"
_HEADERS = (("content-type", "application/grpc"), ("te", "trailers"))
_STATUS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
# google.golang.org/grpc/codes.
_CODES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
    "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
    "DataLoss", "Unauthenticated",
)  # fmt: skip


async def check(pool: Pool, service: str, agent: str) -> str:
    """Ask for a service's health.

    Args:
        pool: Of connections that speak HTTP/2 from the first byte.
        service: Its name; "" for the server as a whole.
        agent: Who asks.

    Returns:
        "" when it is serving, else the kubelet's words (pkg/probe/grpc).

    Raises:
        OSError: There was no answer.
    """
    message = block(1, service.encode()) if service else b""
    body = b"\0" + len(message).to_bytes(4, "big") + message
    answer = await pool.request("POST", _PATH, (*_HEADERS, ("user-agent", agent)), body)
    if answer.error is not None:
        raise answer.error
    return _judged(answer)


def _judged(answer: Result) -> str:
    # An error comes without a message: its code and text are among the first fields then.
    code, text = answer.headers.get("grpc-status", "0"), answer.headers.get("grpc-message", "")
    if answer.status != 200:
        return f"error: health rpc probe failed: unexpected HTTP status code {answer.status}"
    if code == "12":
        return f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {text}"
    if code != "0":
        named = _CODES[int(code)] if code.isdecimal() and int(code) < len(_CODES) else f"Code({code})"
        return f"error: health rpc probe failed: rpc error: code = {named} desc = {text}"
    try:
        status = _status_in(answer.body)
    except (IndexError, ValueError):
        return "error: health rpc probe failed: rpc error: code = Internal desc = the answer is no HealthCheckResponse"
    named = _STATUS.get(status, str(status))
    return "" if named == "SERVING" else f'service unhealthy (responded with "{named}")'


def _status_in(body: bytes) -> int:
    """Return the status of a HealthCheckResponse.

    Raises:
        IndexError, ValueError: It is none.
    """
    if body[0] or len(body) < 5:
        raise ValueError("compressed, or cut short")
    message = body[5 : 5 + int.from_bytes(body[1:5], "big")]
    if not message:
        return 0
    if message[0] != 0x08:
        raise ValueError("another field")
    return message[1]
