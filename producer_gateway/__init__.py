"""The gateway: HTTP in, Kafka out. Knows no money and no database."""

from typing import Final

VERSION: Final = "0.1.0"
