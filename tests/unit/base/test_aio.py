"""Tasks that nobody waits for."""

import asyncio

from kubedyno.base.aio import Tasks


async def _fail() -> None:
    raise OSError("no")


def test_what_a_task_failed_with_is_logged_and_an_end_is_not(caplog) -> None:
    async def scene() -> None:
        tasks = Tasks("an answer")
        tasks.spawn(_fail())
        tasks.spawn(asyncio.Event().wait())
        await asyncio.sleep(0.01)
        assert len(tasks) == 1
        tasks.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not len(tasks)

    asyncio.run(scene())
    assert [(record.message, str(record.exc_info[1])) for record in caplog.records] == [("an answer failed", "no")]
