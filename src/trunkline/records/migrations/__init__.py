"""How the tables of the records came to be, one revision a file (Alembic)."""
