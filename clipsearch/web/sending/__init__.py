"""How files are sent: one, whole or in part; several in a zip; none, where HEAD asks, or where they are known."""
