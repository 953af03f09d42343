"""`clipsearch`, and `python -m clipsearch`."""

import signal


def main() -> None:
    """Run the command line."""
    # While it is being loaded Ctrl-C ends it as it does other programs: at once, and quietly.
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    from clipsearch.cli import main as run

    run()


if __name__ == "__main__":
    main()
