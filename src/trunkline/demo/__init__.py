"""The demonstration: a platform, the relay and two readers, told as a short story in the terminal."""
