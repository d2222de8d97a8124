"""A Plan in, requests out: token bucket, executors and waiters, over `client`."""
