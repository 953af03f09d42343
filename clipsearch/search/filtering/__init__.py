"""Which photos a question is about, and what they can be told apart by."""
