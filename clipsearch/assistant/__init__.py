"""The face for assistants: an index's engine as tools over stdin and stdout, by MCP."""
