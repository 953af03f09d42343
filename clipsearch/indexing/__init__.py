"""Disk to library: what changed, and how it gets in."""
