"""API priority and fairness: who is served when more is asked for than can be done at once.

FlowSchemas sort requests into flows of priority levels, levels have seats and queues, and what has a seat takes turns on
the one event loop. In: requests, with users and the two tables of objects. Out: requests one by one, or a 429. Must not
know what a request does.
"""
