"""What parses a command line: commands and their other names, help in groups, and advice."""
