"""The unit ring searches the same examples in every run: a failure is seen by everybody."""

from hypothesis import settings

settings.register_profile(
    "the same everywhere", derandomize=True, database=None, deadline=None, max_examples=200
)
settings.load_profile("the same everywhere")
