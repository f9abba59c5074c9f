"""Settings of all tests."""

from hypothesis import settings

# Repeatable on every machine, and without a time limit: the first call of a compiled loop takes seconds.
settings.register_profile("weightstream", derandomize=True, deadline=None, database=None)
settings.load_profile("weightstream")
