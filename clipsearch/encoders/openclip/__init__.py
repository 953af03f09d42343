"""Models of open_clip.

`recipe` tells what a spec names and builds it, `encoder` runs it, `text_tower` gives what is
exported for queries, `learning` teaches it.
"""
