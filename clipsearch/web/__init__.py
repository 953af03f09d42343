"""The HTTP face: a page and a JSON API over one index. It holds no logic of its own."""
