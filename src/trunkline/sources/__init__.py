"""The sources: transports that bring a platform's bytes in."""
