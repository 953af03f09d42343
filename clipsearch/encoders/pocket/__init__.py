"""The pocket model: two frozen towers, and the heads that ship here.

`encoder` runs it; `towers` and `heads` are its parts, and pocket.safetensors the heads' weights. To
teach it (`learning`), `features` keeps what the towers see, and `training` goes the steps.
"""
