"""The gateway: HTTP in, Kafka out. Knows no money and no database."""
