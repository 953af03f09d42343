"""Files to pixels and facts. Knows no model, no database."""
