"""Clock, seeded random, ids, errors, asyncio waits and logging: the floor that all else stands on."""
