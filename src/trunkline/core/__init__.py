"""The ground floor: pure values and functions, with no socket, clock or event loop."""
