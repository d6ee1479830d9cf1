"""Items made ahead in a background thread, within a number and a size."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Generic, TypeVar

Item = TypeVar("Item")
LIMIT_BYTES = 16_000_000


def prefetched(
    items: Generator[Item, None, None], count: int, size_of: Callable[[Item], int], limit_bytes: int = LIMIT_BYTES
) -> Iterator[Item]:
    """The same items in the same order, at most `count` of them, and limit_bytes together, in advance.

    One is always made, whatever its size. An error comes out where its item would have. Leaving early stops the
    thread and closes `items`.
    """
    if count == 0:
        with closing(items):
            yield from items
        return
    ahead = _Ahead(items, count, size_of, limit_bytes)
    try:
        while (item := ahead.take()) is not None:
            yield item
    finally:
        ahead.stop()


class _Ahead(Generic[Item]):
    def __init__(
        self, items: Generator[Item, None, None], count: int, size_of: Callable[[Item], int], limit_bytes: int
    ) -> None:
        self._items, self._count, self._size_of, self._limit_bytes = items, count, size_of, limit_bytes
        self._ready: deque[Item] = deque()
        self._bytes = 0
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="input pipeline", daemon=True)
        self._thread.start()

    def take(self) -> Item | None:
        """The next item, None at the end. Raises what making it raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended)
            if not self._ready:
                if self._error is not None:
                    raise self._error
                return None
            item = self._ready.popleft()
            self._bytes -= self._size_of(item)
            self._changed.notify_all()
            return item

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._ready.clear()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            with closing(self._items):
                for item in self._items:
                    if not self._put(item):
                        break
        except BaseException as error:
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, item: Item) -> bool:
        """False if nobody wants any more."""
        size = self._size_of(item)

        def has_room() -> bool:
            return not self._ready or (len(self._ready) < self._count and self._bytes + size <= self._limit_bytes)

        with self._changed:
            self._changed.wait_for(lambda: self._stopped or has_room())
            if not self._stopped:
                self._ready.append(item)
                self._bytes += size
                self._changed.notify_all()
            return not self._stopped
