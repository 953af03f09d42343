"""What can be asked over HTTP, a module a subject; each has a `router` of its routes."""
