"""What is asked of the database while it waits for the disk is done in the next transaction, all
together: a hundred people who answer at once do not wait a hundred times.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import anyio.to_thread
from sqlalchemy import Connection

from sg2im_pyg.study.answers import Answers

_MOST_TOGETHER = 500

T = TypeVar("T")


class Transactions:
    """Does things in the database, one transaction after another.

    Args:
        answers: The database.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._waiting: list[tuple[Callable[[Connection], Any], asyncio.Future]] = []
        self._running: asyncio.Task | None = None

    async def do(self, work: Callable[[Connection], T]) -> T:
        """Does something; when it returns, it is on the disk.

        Raises:
            Unavailable: If it can not be kept just now.
            ValueError, LookupError: What the work raises.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            batch = self._waiting[:_MOST_TOGETHER]
            del self._waiting[:_MOST_TOGETHER]
            found: list[Any]
            try:
                works = [work for work, _ in batch]
                found = await anyio.to_thread.run_sync(self._answers.together, works)
            except Exception as error:  # all of them wait for a word
                found = [error] * len(batch)
            for (_, future), result in zip(batch, found):
                if future.done():
                    continue  # who asked has gone
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
