"""The stores: where the entries of turns rest."""
