"""What the relay costs for each streamed token, measured beside nginx on one machine; `python -m bench` runs it."""
