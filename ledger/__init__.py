"""The books in PostgreSQL: schema, receipts, deferred calls, credits, positions, reports.

The only room that speaks to the database. Its writer of receipts is for the consumer and for the
operator's replay alone (ONE_LEDGER_WRITER).
"""
