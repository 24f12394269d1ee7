"""How patterns and terms are found in a text that comes in pieces: parsed, made one automaton, scanned."""
