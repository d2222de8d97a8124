"""Random queries over the data set: every function, aggregation and operator in any nesting, wrong ones too."""

from random import Random

GAUGES = ("temperature", "memory_bytes", "odd", "constant", "pod_phase", "node_info", "rare", "flapping")
COUNTERS = ("requests_total", "cpu_seconds_total", "latency_seconds_count")
LABELS = ("node", "pod", "namespace", "verb", "resource", "code", "mode", "cpu", "zone", "phase", "i", "le", "none")
VALUES = {
    "node": ("node-a", "node-b", "node-.*", "node-(a|c)", ""), "pod": (".*-1", ".+", "p-node-a-0"),
    "namespace": ("ns0", "ns.", ""), "verb": ("GET", "GET|LIST", ".*T"), "resource": ("pods", "nodes", ".*s"),
    "code": ("200", "[45]..", ""), "mode": ("idle", "user|system"), "cpu": ("0", "."), "zone": ("z0", ".*"),
    "phase": ("Running",), "i": ("0", "[12]", "3"), "le": ("0.5", r"\\+Inf"), "none": ("", "x", ".*"),
}  # fmt: skip
SPANS = ("15s", "1m", "2m", "5m", "7m30s", "20m", "1s")
OF_VALUES = [
    "abs",
    "ceil",
    "floor",
    "exp",
    "ln",
    "log2",
    "log10",
    "sqrt",
    "sgn",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "deg",
    "rad",
    "timestamp",
    "minute",
    "hour",
    "day_of_week",
    "day_of_month",
    "day_of_year",
    "days_in_month",
    "month",
    "year",
    "sort",
    "sort_desc",
    "absent",
    "round",
]
OVER_TIME = [
    "rate",
    "irate",
    "increase",
    "delta",
    "idelta",
    "deriv",
    "resets",
    "changes",
    "avg_over_time",
    "sum_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "absent_over_time",
    "stddev_over_time",
    "stdvar_over_time",
]
AGGREGATIONS = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]
NUMBERS = ("0", "1", "2.5", "-1", "0.5", "1e3", "NaN", "Inf", "-Inf", "0x10", "1e-3")
ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
SETS = ("and", "or", "unless")


class Grammar:
    """Makes queries from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def query(self) -> str:
        """Return the next query."""
        if self._random.random() < 0.04:
            # Prometheus 2.42 loses labels of the grouping that sort after the new one; fractions differ in the last digit.
            by = self._one(("", f" by ({self._names()})", f" without ({self._names()})"))
            return f'count_values{by} ("zz", {self._selector()})'
        return self._scalar(2) if self._random.random() < 0.08 else self._vector(self._random.randrange(1, 5))

    def _one(self, options: tuple[str, ...] | list[str]) -> str:
        return self._random.choice(options)

    def _names(self) -> str:
        return ", ".join(self._random.sample(LABELS, self._random.randrange(4)))

    def _selector(self) -> str:
        name = self._one(GAUGES + COUNTERS + ("latency_seconds_bucket",))
        matchers = []
        for label in self._random.sample(LABELS, self._random.choice((0, 0, 1, 2))):
            operator = self._one(("=", "!=", "=~", "!~"))
            matchers.append(f'{label}{operator}"{self._one(VALUES[label])}"')
        return f"{name}{{{','.join(matchers)}}}" if matchers else name

    def _moved(self) -> str:
        text = ""
        if self._random.random() < 0.15:
            text += f" offset {self._one(('1m', '-1m', '7m', '-3m'))}"
        if self._random.random() < 0.12:
            text += f" @ {self._one(('start()', 'end()', '1700001000', '1700000700.5'))}"
        return text

    def _span(self, depth: int, *, moved: bool = True) -> str:
        if depth > 0 and self._random.random() < 0.3:
            step = self._one(("", "", "15s", "37s", "1m"))
            return f"({self._vector(depth - 1)})[{self._one(SPANS)}:{step}]{self._moved() if moved else ''}"
        return f"{self._selector()}[{self._one(SPANS)}]{self._moved() if moved else ''}"

    def _scalar(self, depth: int) -> str:
        kind = self._random.randrange(6)
        if kind == 0:
            return "time()"
        if kind == 1 and depth > 0:
            return f"scalar({self._vector(depth - 1)})"
        if kind == 2 and depth > 0:
            operator = self._one(ARITHMETIC)
            return f"({self._scalar(depth - 1)} {operator} {self._scalar(depth - 1)})"
        if kind == 3 and depth > 0:
            return f"({self._scalar(depth - 1)} {self._one(COMPARISONS)} bool {self._scalar(depth - 1)})"
        return self._one(NUMBERS)

    def _vector(self, depth: int) -> str:
        if depth <= 0:
            return f"{self._selector()}{self._moved()}"
        below = depth - 1
        made = self._random.choices(
            (self._function, self._over_time, self._aggregation, self._binary, self._labelled, self._plain),
            (3, 4, 4, 5, 1, 1),
        )[0]
        return made(below)

    def _plain(self, depth: int) -> str:
        _ = depth
        return f"{self._selector()}{self._moved()}"

    def _function(self, depth: int) -> str:
        kind = self._random.randrange(8)
        inner = self._vector(depth)
        if kind == 0:
            return f"clamp({inner}, {self._scalar(1)}, {self._scalar(1)})"
        if kind == 1:
            return f"{self._one(('clamp_min', 'clamp_max', 'round'))}({inner}, {self._scalar(1)})"
        if kind == 2:
            of = self._one(("latency_seconds_bucket", "rate(latency_seconds_bucket[5m])"))
            by = self._one(("sum by (le)", "sum by (le, verb)", "avg by (resource, le)", ""))
            return f"histogram_quantile({self._one(('0.5', '0.99', '0', '1', '2', '-1', 'NaN'))}, {by}({of}))"
        if kind == 3:
            return f"vector({self._scalar(depth)})"
        if kind == 4:
            return f"-{self._selector()}"
        return f"{self._one(OF_VALUES)}({inner})"

    def _over_time(self, depth: int) -> str:
        kind = self._random.randrange(10)
        # Prometheus 2.42 forgets samples of a span at a fixed time from one step to the next, where the function depends on
        # the step.
        span = self._span(depth, moved=kind > 1)
        if kind == 0:
            return f"quantile_over_time({self._scalar(1)}, {span})"
        if kind == 1:
            return f"predict_linear({span}, {self._one(('60', '-300', '3600'))})"
        if kind == 2:
            return f"holt_winters({span}, {self._one(('0.1', '0.5', '0.9'))}, {self._one(('0.2', '0.8'))})"
        return f"{self._one(OVER_TIME)}({span})"

    def _aggregation(self, depth: int) -> str:
        kind = self._random.randrange(10)
        grouping = self._one(("", f" by ({self._names()})", f" without ({self._names()})"))
        inner = self._vector(depth)
        if kind == 0:
            # Which of equal ones are kept is nobody's promise: what is left of them is.
            return f"sum({self._one(('topk', 'bottomk'))}{grouping} ({self._one(('0', '1', '3', '100'))}, {inner}))"
        if kind == 1:
            # 2.42 does not prepare a parameter's @.
            share = self._one((*NUMBERS, "time() / 1e10", "(time() - 1700000000) / 2000", "scalar(constant) / 50"))
            return f"quantile{grouping} ({share}, {inner})"
        return f"{self._one(AGGREGATIONS)}{grouping} ({inner})"

    def _binary(self, depth: int) -> str:
        kind = self._random.randrange(6)
        left, right = self._vector(depth), self._vector(depth)
        if kind == 0:
            scalar = self._scalar(depth)
            pair = (left, scalar) if self._random.random() < 0.5 else (scalar, left)
            operator = self._one((*ARITHMETIC, *COMPARISONS, "> bool", "== bool"))
            return f"(({pair[0]}) {operator} ({pair[1]}))"
        on = self._one(("", f" on ({self._names()})", f" ignoring ({self._names()})"))
        if kind == 1:
            return f"(({left}) {self._one(SETS)}{on} ({right}))"
        group = self._one(("", "", f" group_left ({self._names()})", f" group_right ({self._names()})")) if on else ""
        operator = self._one((*ARITHMETIC, *COMPARISONS, "> bool", "!= bool"))
        if self._random.random() < 0.6:
            # Two sides that fit each other more often than chance has them.
            by = self._one(("node", "namespace", "node, namespace", "verb", "resource, verb"))
            left, right = f"sum by ({by}) ({left})", f"max by ({by}) ({right})"
            if group:
                on = f" on ({by.split(',')[0]})"
        return f"(({left}) {operator}{on}{group} ({right}))"

    def _labelled(self, depth: int) -> str:
        inner = self._vector(depth)
        if self._random.random() < 0.3:
            return f'label_join({inner}, "joined", "{self._one(("-", ""))}", "node", "{self._one(LABELS)}")'
        target, source = self._one(("new", "node", "none")), self._one(LABELS)
        pattern, text = self._one(("(.*)", "node-(.)", "(.+)-(.+)", "")), self._one(("$1", "x$1", "${1}y", "", "$2"))
        return f'label_replace({inner}, "{target}", "{text}", "{source}", "{pattern}")'


def queries(seed: int, count: int) -> list[str]:
    """Return so many queries, the same ones for a seed."""
    grammar = Grammar(seed)
    return [grammar.query() for _ in range(count)]
