"""Labels in tables: reading a table, finding its columns, what its labels are, and its split."""
