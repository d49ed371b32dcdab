"""Whom a worker tells how it is getting on."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Observer:
    """Where a step's numbers and messages go.

    Attributes:
        advance: Takes how many more videos or frames are done.
        say: Takes messages for people.
    """

    advance: Callable[[int], None]
    say: Callable[[str], None]
