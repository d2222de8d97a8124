"""The functions of PromQL: what they take and return, as Prometheus 2.42 has them, and those that came later."""

import math
from dataclasses import dataclass

_KINDS = {"v": "vector", "m": "matrix", "s": "scalar", "t": "string"}


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes and returns.

    Attributes:
        arguments: Types; the last one is that of all that follow.
        least: So many arguments at least.
        most: At most; without end where the last one may be repeated.
        returns: vector or scalar.
        later: Whether only Prometheus 3 has it.
    """

    arguments: tuple[str, ...]
    least: int
    most: float
    returns: str = "vector"
    later: bool = False


def _of(text: str, *, returns: str = "vector", later: bool = False) -> Signature:
    """Return what "msv" (three), "vs?" (the second may be left out) or "vtt*" (the last may be repeated or left out) says."""
    optional, repeated = text.endswith("?"), text.endswith("*")
    arguments = tuple(_KINDS[one] for one in text.rstrip("?*"))
    least = len(arguments) - (optional or repeated)
    return Signature(arguments, least, math.inf if repeated else len(arguments), returns, later)


def _named(names: str, text: str, *, returns: str = "vector", later: bool = False) -> dict[str, Signature]:
    return dict.fromkeys(names.split(), _of(text, returns=returns, later=later))


SIGNATURES: dict[str, Signature] = {
    **_named(
        "abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor histogram_count histogram_sum ln log10 log2"
        " rad sgn sin sinh sort sort_desc sqrt tan tanh timestamp",
        "v",
    ),
    **_named("day_of_month day_of_week day_of_year days_in_month hour minute month year", "v?"),
    **_named(
        "absent_over_time avg_over_time changes count_over_time delta deriv idelta increase irate last_over_time"
        " max_over_time min_over_time present_over_time rate resets stddev_over_time stdvar_over_time sum_over_time",
        "m",
    ),
    **_named("clamp_max clamp_min", "vs"),
    **_named("clamp", "vss"),
    **_named("round", "vs?"),
    **_named("histogram_quantile", "sv"),
    **_named("histogram_fraction", "ssv"),
    **_named("holt_winters", "mss"),
    **_named("predict_linear", "ms"),
    **_named("quantile_over_time", "sm"),
    **_named("label_join", "vttt*"),
    **_named("label_replace", "vtttt"),
    **_named("scalar", "v", returns="scalar"),
    **_named("vector", "s"),
    **_named("pi time", "", returns="scalar"),
    **_named("double_exponential_smoothing", "mss", later=True),
    **_named("mad_over_time", "m", later=True),
    **_named("sort_by_label sort_by_label_desc", "vt*", later=True),
}
