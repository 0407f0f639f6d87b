"""The price tripwire: each receipt computed again from its tokens, to notice; it never bills."""
