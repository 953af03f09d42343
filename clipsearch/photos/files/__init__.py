"""Where photos are, on this machine and at URLs, and how their files are opened."""
