"""Work that is begun before its turn comes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    executor: Executor, work: Callable[[Item], Result], items: Iterable[Item], most: int
) -> Iterator[Result]:
    """The result of each item's work, in order, while work on those that follow is going on.

    Items are taken from their iterable only as results are asked for.

    Args:
        executor: Does the work.
        work: What is done with each item; what it raises is raised in the item's turn.
        items: What to work on, in order.
        most: Items that are begun and not asked for yet, at most.
    """
    begun: deque[Future[Result]] = deque()
    try:
        for item in items:
            begun.append(executor.submit(work, item))
            if len(begun) > most:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()
