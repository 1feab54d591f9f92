"""``mambasynth serve``: the engine as the child process of 3D Slicer, or for other computers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from MambaSynthLib.commands.options import add_remote_options, remote_engine
from MambaSynthLib.errors import RequestError

MEGABYTES, MINUTES = 1024, 60


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "serve",
        help="the engine for other programs, or with --listen for other computers",
        description="Without --listen, JSON lines on stdin and stdout (see "
        "MambaSynthLib/server/serve.py), as 3D Slicer asks for them. With --listen, the same for "
        "computers without a GPU: see 'An engine for other computers' in MambaSynthLib/README.md.",
    )
    add = parser.add_argument
    add("--folder", type=Path, metavar="DIR", help="of exchanged volumes, removed at the end")
    add("--in-memory", action="store_true", help="volumes travel behind the lines, not as files")
    add("--listen", metavar="HOST:PORT",
        help="serve other computers, which need the --token; 127.0.0.1:PORT for an SSH tunnel, any "
        "other address with TLS")  # fmt: skip
    add("--key", type=Path, metavar="PEM", help="the private key of --certificate, for TLS")
    add("--megabytes", type=int, default=MEGABYTES, metavar="N",
        help=f"largest voxels of one request or result (default: {MEGABYTES})")  # fmt: skip
    add("--minutes", type=float, default=MINUTES, metavar="N",
        help=f"longest run (default: {MINUTES})")  # fmt: skip
    add_remote_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.listen:
        return listen(options)
    from MambaSynthLib.server.serve import serve

    if not options.engine and (options.token or options.certificate or options.key):
        raise RequestError("--token, --certificate and --key belong to --listen, or to --engine; "
                           "name one of them, too.")  # fmt: skip
    serve(options.folder, in_memory=options.in_memory, remote=remote_engine(options))
    return 0


def listen(options: argparse.Namespace) -> int:
    """Until Ctrl-C. A token file that is not there is written anew."""
    from MambaSynthLib.commands import console
    from MambaSynthLib.server.address import address_of
    from MambaSynthLib.server.listen import Listener, leave_no_core_dump, tls_of
    from MambaSynthLib.server.session import Limits
    from MambaSynthLib.server.token_file import read_token, write_new_token

    if options.token is None:
        raise RequestError("--listen needs --token FILE; a new one is written where there is none.")
    if options.engine or options.folder:
        raise RequestError("--listen serves by itself and keeps no files; leave --engine and "
                           "--folder out.")  # fmt: skip
    if options.megabytes < 1 or not options.minutes > 0:
        raise RequestError("--megabytes and --minutes are limits; give numbers above 0.")
    host, port = address_of(options.listen)
    context = tls_of(options.certificate, options.key, host)
    if not options.token.exists():
        write_new_token(options.token)
        console.say(f"wrote a new token into {options.token}; copy it to each client")
    limits = Limits(options.megabytes * 10**6, options.minutes * 60)
    leave_no_core_dump()
    listener = Listener((host, port), read_token(options.token), limits, context)
    host, port = listener.address
    host = f"[{host}]" if ":" in host else host
    console.say(f"listening on {host}:{port}{' with TLS' if context else ''}; Ctrl-C ends it")
    with console.after_writing():
        listener.run()
    return 0
