"""The API as it is described: to programs, as OpenAPI, and of that to people, as a page."""
