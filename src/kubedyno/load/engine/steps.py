"""The steps of an incremental load: how many iterations each has."""

from kubedyno.load.config.spec import IncrementalSpec


def steps(load: IncrementalSpec) -> list[int]:
    """Return the numbers of iterations, from the first to the total, ascending and without repeats."""
    found = [load.start]
    if load.pattern == "linear":
        span = load.total - load.start
        size = load.step_size
        if load.min_steps and span < load.min_steps * size:
            # At least so many increases, as long as there is anything to increase by.
            size = -(-span // load.min_steps)
        while found[-1] < load.total:
            found.append(min(found[-1] + max(size, 1), load.total))
        return found
    while found[-1] < load.total:
        # The first step counts: the second one increases by base² times as much, as in the original.
        number = len(found) + 1
        if number <= load.warmup_steps:
            increase = load.start
        else:
            increase = int(load.base ** (number - load.warmup_steps)) * load.start
            if load.max_increase:
                increase = min(increase, load.max_increase)
        found.append(min(found[-1] + max(increase, 1), load.total))
    return found
