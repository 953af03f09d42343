"""The commands, a module for each, which has its name; only that of the asked one is imported."""
