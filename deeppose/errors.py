"""Mistakes a user can mend, told in one line instead of a traceback."""
import sys


class UserError(Exception):
    """A mistake of the user's or of the machine's; the message says what, where, and what to run."""


def run(main):
    """Call a script's main() and end the process: status 1 and one line for a UserError, 130 after Ctrl-C."""
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
