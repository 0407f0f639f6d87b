"""The embedded stack and the demo: starts the rooms as processes and imports none of them."""
