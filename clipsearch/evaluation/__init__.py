"""How good a model is: its answers compared with the right ones, of captioned or sorted photos."""
