"""What Ray's errors say, in words for a person."""

from __future__ import annotations

import re


def why_not_connected(address: str, error: Exception) -> str:
    """Why this machine is none of the cluster's, and what to do."""
    causes: list[BaseException] = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    if any("AuthenticationError" in f"{type(cause)} {cause}" for cause in causes):
        return (
            f"the Ray cluster at {address} does not accept the token of this machine\nBring the"
            " cluster's, which ~/.ray/auth_token of its first machine holds, to the same place here"
        )
    return (
        f"the Ray cluster at {address} cannot be used: {_lines(causes[-1])[0]}\nThis machine must"
        f" be one of its own: ray start --address {address}"
    )


def why_failed(error: Exception) -> str:
    """Where and why the work on the cluster ended, and what to do."""
    # With what an actor raised come where it was and all that called it.
    lines = _lines(error)
    where = re.search(r"\bip=([\w.:]+)", "\n".join(lines))
    machine = f" on the machine {where[1]}" if where else ""
    advice = (
        "\nInstall clipsearch with the same groups on all of them, for the Python that runs Ray"
        if "No module named" in lines[-1]
        else ""
    )
    return f"the Ray cluster failed{machine}: {lines[-1]}{advice}"


def _lines(error: BaseException) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
