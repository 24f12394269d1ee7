"""The guards: what screens an answer while it streams."""
