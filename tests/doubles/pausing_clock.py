"""A clock for the client's pauses: they take no time, and time passes in nothing else."""


class PausingClock:
    """Seconds that pass in pauses alone."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        """All pauses so far."""
        return sum(self.pauses)

    def sleep(self, seconds: float) -> None:
        """A pause that takes no time."""
        self.pauses.append(seconds)
