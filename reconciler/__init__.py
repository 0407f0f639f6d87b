"""The reconciler: what LiteLLM's spend log has and the ledger does not, put through the gateway.

Here so far: reading the spend log, comparing its rows with what the ledger knows of their calls,
and making callbacks of rows whose own were lost. Nothing here speaks to a database.
"""
