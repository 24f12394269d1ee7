"""The records: the database where ended turns rest, and what else outlives the process."""
