"""A ledger that is made what it was before, as a fail-over or a restored backup does."""

from typing import Any

import psycopg


def positions(url: str) -> list[tuple[Any, ...]]:
    """What the ledger says of each partition."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT kafka_topic, kafka_partition, next_offset FROM billing.published_offsets"
            " ORDER BY 1, 2"
        ).fetchall()


def put_back(url: str, before: list[tuple[Any, ...]]) -> int:
    """Make the ledger what it was when it said `before`; how many receipts that took away."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.cursor().executemany(
            "UPDATE billing.published_offsets SET next_offset = %(offset)s,"
            " published_offset = %(offset)s WHERE kafka_topic = %(topic)s"
            " AND kafka_partition = %(partition)s",
            [
                {"topic": topic, "partition": partition, "offset": offset}
                for topic, partition, offset in before
            ],
        )
        lost = [
            id_
            for (id_,) in connection.execute(
                "SELECT id FROM billing.charge_receipts JOIN billing.published_offsets"
                " USING (kafka_topic, kafka_partition) WHERE kafka_offset >= next_offset"
            )
        ]
        for table, column in (
            ("former_charge_details", "charge_receipt_id"),
            ("charge_receipts", "id"),
        ):
            connection.execute(
                f"DELETE FROM billing.{table} WHERE {column} = ANY(%s)".encode(),  # noqa: S608
                [lost],
            )
    return len(lost)
