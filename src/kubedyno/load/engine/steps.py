"""The steps of an incremental load: how many iterations each has."""

from kubedyno.load.config.spec import IncrementalSpec


def steps(load: IncrementalSpec) -> list[int]:
    """Return the numbers of iterations, from the first to the total, ascending and without repeats."""
    found = [load.start]
    if load.pattern == "linear":
        # Rounded down, so that there are at least so many steps.
        span = load.total - load.start
        size = load.step_size
        if load.min_steps > 1 and span:
            size = max(min(size, span // (load.min_steps - 1)), 1)
        while found[-1] < load.total:
            found.append(min(found[-1] + size, load.total))
        return found
    step = 0
    while found[-1] < load.total:
        # Warming up, the load grows by the same again.
        power = max(step - load.warmup_steps, 0)
        increase = int(load.base**power * load.start)
        if load.max_increase:
            increase = min(increase, load.max_increase)
        found.append(min(found[-1] + max(increase, 1), load.total))
        step += 1
    return found
