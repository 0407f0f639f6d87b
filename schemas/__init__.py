"""The agreement between the rooms: callback, records, topics, receipts, examples.

Imports nothing of ours. What is written here is what other teams may rely on.
"""
