"""When people are told again that something is waited for."""


class MessageTimes:
    """First after a while, then less and less often."""

    def __init__(self, first_seconds: float, longest_seconds: float) -> None:
        """For a wait that begins.

        Args:
            first_seconds: How long nothing is said.
            longest_seconds: The longest time between two messages.
        """
        self._first = first_seconds
        self._longest = longest_seconds
        self._next = first_seconds

    def is_due(self, waited_seconds: float) -> bool:
        """Whether to say something now; that counts as said."""
        if waited_seconds < self._next:
            return False
        self._next += min(self._next, self._longest)
        return True

    def start_again(self) -> None:
        """The wait is over; the next one begins anew."""
        self._next = self._first
