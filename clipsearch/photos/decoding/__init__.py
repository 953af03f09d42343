"""Files to pixels: pictures, what a model sees of them, and what is shown of them."""
