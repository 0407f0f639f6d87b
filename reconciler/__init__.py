"""The reconciler: what LiteLLM's spend log has and the ledger does not, put through the gateway.

It compares, posts and audits; it writes no receipt (ONE_BILLING_PATH, ONE_LEDGER_WRITER).
"""
