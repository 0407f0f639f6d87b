"""The plumbing of a process: settings, Kafka's clients, logs, probes, pauses.

Knows nothing of money and of no process in particular.
"""

from typing import Final

VERSION: Final = "0.2.0"
