"""How things are sent: a file, whole or in part; several in a zip; none for HEAD, or at a stop."""
