"""Kafka in, PostgreSQL and Kafka out. The only process that writes receipts (ONE_LEDGER_WRITER)."""
