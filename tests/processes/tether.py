"""Becomes another program that dies with the process which started it.

`python -I -S tether.py PARENT_PID SIGNAL USER COMMAND...`: switches to USER (`-` keeps the present
one), asks Linux to send SIGNAL when the parent is gone, and replaces itself by COMMAND. A test run
that is killed therefore leaves no broker and no database behind. This is a program of its own
because `subprocess` can only do the same by running Python between fork and exec, which Python
3.12 calls unsafe in a process with threads, and every Kafka client has threads.
"""

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Read the arguments, arm the signal, replace this program."""
    parent, signal_number, user, *command = sys.argv[1:]
    # Loaded before the user changes: the other user may not be able to read our libraries.
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if user != "-":
        account = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    # After the change of user, which clears the setting (prctl(2)).
    if libc is not None and libc.prctl(PR_SET_PDEATHSIG, int(signal_number)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != int(parent):
        sys.exit("the process that wanted this program is gone already")
    os.execvp(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
