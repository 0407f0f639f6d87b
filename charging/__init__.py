"""The rules: what a callback costs, whose account it goes to, and what becomes of it.

Pure: no clock, no network, no database. What decides knows nothing of where records come from.
"""
