"""Kafka in, PostgreSQL and Kafka out. The only writer of receipts (ONE_LEDGER_WRITER)."""

from typing import Final

VERSION: Final = "0.1.0"
