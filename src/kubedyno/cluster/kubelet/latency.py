"""How long what a node does takes: the whole model, with its numbers.

All are seconds at speed 1, drawn from the cluster's seeded generator; a speed of 2 halves them, 0 makes them nothing.
They are near what a quiet kind node with containerd shows (kubelet pod start SLO traces, crictl timings), not measured
on any one machine:

* Sandbox (pause container, CNI ptp or cilium): lognormal, median 0.25 s, sigma 0.35.
* Image pull: 0.6 s for resolving and the manifest, then 30 MB/s of compressed layers; a pull of an image that is
  there (policy Always, or another pod's pull brought it meanwhile) only resolves: 0.4 … 0.8 s. One at a time on a node
  (serializeImagePulls, the default).
* A pull that fails: 0.5 … 1.5 s (DNS or registry says no).
* Container creation 0.08 s and start 0.12 s, lognormal, sigma 0.3.
* A change in the runtime is seen by the next relist of the PLEG, every second: 0 … 1 s, then the status is written.
* Readiness probe: first at initialDelaySeconds plus a random part of the period (the prober's jitter), then each
  period, until successThreshold.
* Stopping: programs that handle SIGTERM end after 0.05 … 0.3 s; those that don't take their whole grace period.
* A pod whose sandbox could not be made is tried again after 10 … 15 s (workerBackOffPeriod 10 s, jitter 0.5).
* A volume whose ConfigMap or Secret isn't there is tried again after 0.5 s, doubled up to 122 s.
* Back-offs of images and crashing containers: 10 s, doubled up to 300 s.

Nodes don't get slower under load: a hundred sandboxes at once take as long as one.

What a program itself takes (`sleep 30`, kubedyno.io/run-seconds) is divided by the speed too. At speed 0 such programs
of pods that are to complete (restartPolicy Never, OnFailure) end at once; those of restartPolicy Always run in real
time, else they would crash and restart in a busy loop. Back-offs and retries have a pace of their own: at speed 0 they
keep real time.
"""

from math import exp

from kubedyno.base.random import Random

_SANDBOX_S, _SANDBOX_SIGMA = 0.25, 0.35
_RESOLVE_S = 0.6
_PULL_BYTES_PER_S = 30e6
_CREATE_S, _START_S, _CONTAINER_SIGMA = 0.08, 0.12, 0.3
_RELIST_S = 1.0
_RETRY_S, _RETRY_JITTER = 10.0, 0.5
_MOUNT_RETRY_S, _MAX_MOUNT_RETRY_S = 0.5, 122.0
BACKOFF_S = 10.0
MAX_BACKOFF_S = 300.0
# A container that ran this long starts its back-off anew: twice the longest one.
BACKOFF_RESET_S = 2 * MAX_BACKOFF_S


class Latency:
    """Draws durations.

    Args:
        random: The cluster's generator.
        speed: `ClusterSettings.speed`.
    """

    def __init__(self, random: Random, speed: float) -> None:
        self.random = random
        self.speed = speed
        self.instant = speed <= 0

    def scaled(self, duration_s: float) -> float:
        """Return a modelled duration at this speed."""
        return 0.0 if self.instant else duration_s / self.speed

    def paced(self, duration_s: float) -> float:
        """Return a back-off at this speed: real time at speed 0."""
        return duration_s if self.instant else duration_s / self.speed

    def program(self, duration_s: float, *, completes: bool) -> float:
        """Return how long a program runs.

        Args:
            duration_s: What it says itself.
            completes: Its pod is to end when it has ended well.
        """
        if self.instant:
            return 0.0 if completes else duration_s
        return duration_s / self.speed

    def _lognormal(self, median_s: float, sigma: float) -> float:
        return 0.0 if self.instant else median_s * exp(self.random.gauss(0.0, sigma)) / self.speed

    def sandbox(self) -> float:
        return self._lognormal(_SANDBOX_S, _SANDBOX_SIGMA)

    def create(self) -> float:
        return self._lognormal(_CREATE_S, _CONTAINER_SIGMA)

    def start(self) -> float:
        return self._lognormal(_START_S, _CONTAINER_SIGMA)

    def pull(self, size_bytes: int, *, present: bool) -> float:
        """Return how long a pull takes that nothing else holds up."""
        if present:
            return self.scaled(self.random.uniform(0.4, 0.8))
        return self.scaled(_RESOLVE_S + size_bytes / _PULL_BYTES_PER_S * self.random.uniform(0.8, 1.25))

    def failed_pull(self) -> float:
        return self.scaled(self.random.uniform(0.5, 1.5))

    def relist(self) -> float:
        return self.scaled(self.random.uniform(0.0, _RELIST_S))

    def probe(self, initial_delay_s: float, period_s: float, successes: int) -> float:
        """Return when a probe has succeeded often enough, after the container's start."""
        if self.instant:
            return 0.0
        return self.scaled(initial_delay_s + self.random.uniform(0.0, period_s) + period_s * (successes - 1))

    def stop(self, grace_s: float, *, hook_s: float, ignores_term: bool) -> float:
        """Return how long a container takes to stop, at most its grace period.

        Args:
            grace_s: The grace period; the hook's time is part of it.
            hook_s: How long its preStop hook takes, before SIGTERM.
            ignores_term: Only SIGKILL ends it.
        """
        if ignores_term:
            return self.scaled(grace_s)
        return self.scaled(min(grace_s, hook_s + self.random.uniform(0.05, 0.3)))

    def mount_retry(self, failures: int) -> float:
        """Return the pause before a volume is mounted again: 0.5 s, doubled up to 122 s (exponentialBackOff)."""
        return self.paced(min(_MOUNT_RETRY_S * 2.0 ** min(failures, 10), _MAX_MOUNT_RETRY_S))

    def retry(self) -> float:
        """Return the pause before a pod's sandbox is tried again."""
        return self.paced(_RETRY_S * (1 + _RETRY_JITTER * self.random.random()))
