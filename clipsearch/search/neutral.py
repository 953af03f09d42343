"""Everyday texts, whose scores tell what a score is worth in a library: see relevance.py."""

from __future__ import annotations

NEUTRAL = (
    "a photo", "a picture of something", "a man", "a woman", "a child", "a group of people",
    "a crowd", "a face", "a dog", "a cat", "a bird", "a fish", "an insect", "a wild animal",
    "a beach", "the sea", "a mountain", "a forest", "a river", "snow", "a flower", "a garden",
    "the sky", "the night sky", "a street", "a building", "a church", "a city", "a shop",
    "a kitchen", "a bedroom", "an office", "a meal", "fruit", "a drink", "a car", "a bicycle",
    "a train", "a boat", "a computer", "a book", "a toy", "clothes", "furniture", "tools",
    "a machine", "a musical instrument", "a wedding", "a concert", "a sports match",
    "a page of text", "a map", "a drawing", "a sign", "a pattern", "people running",
    "someone swimming", "someone eating", "someone sleeping", "someone working",
)  # fmt: skip
