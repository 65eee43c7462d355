"""Where to listen, as the host says in the environment."""

import asyncio
import atexit
import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from typing import BinaryIO

import grpc

log = logging.getLogger("plugin.listen")


def bind(server: grpc.aio.Server, name: str) -> str:
    """Binds the server of the plugin `name`, and returns the address as PLUGMESH_LISTEN would have it."""
    address = os.environ.get("PLUGMESH_LISTEN") or fresh_address(name)
    # Only the owner may connect to a Unix socket.
    os.umask(0o077)
    if address.startswith("unix:///"):
        server.add_insecure_port("unix:" + address.removeprefix("unix://"))
        return address
    if not address.startswith("tcp://"):
        sys.exit(f"PLUGMESH_LISTEN={address}: use unix:///absolute/path or tcp://127.0.0.1:0")
    host = address.removeprefix("tcp://")
    credentials = server_credentials()
    if credentials:
        port = server.add_secure_port(host, credentials)
    elif host.startswith("127.0.0.1:") and "PLUGMESH_INSTANCE_ID" not in os.environ:
        port = server.add_insecure_port(host)
    else:
        sys.exit(f"PLUGMESH_LISTEN={address}: plaintext is only for loopback, and not under a host")
    return f"tcp://{host.rpartition(':')[0]}:{port}"


def fresh_address(name: str) -> str:
    """A Unix socket for a plugin that a person started."""
    directory = tempfile.mkdtemp(prefix=f"plugmesh-{name}-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return f"unix://{directory}/socket"


def server_credentials() -> grpc.ServerCredentials | None:
    """mTLS from the files of this launch. The host's certificate alone is good for a client: those of
    plugins, from the same authority, are for servers only."""
    names = ["PLUGMESH_TLS_KEY_FILE", "PLUGMESH_TLS_CERT_FILE", "PLUGMESH_TLS_CLIENT_CA_FILE"]
    if not all(name in os.environ for name in names):
        return None
    key, certificate, client_ca = (read(os.environ[name]) for name in names)
    return grpc.ssl_server_credentials([(key, certificate)], client_ca, require_client_auth=True)


def announce(address: str, name: str) -> None:
    """Tells the host the bound port, or a person everything."""
    if path := os.environ.get("PLUGMESH_ADDRESS_FILE"):
        with open(path + ".new", "w") as file:
            file.write(address)
        # In one step: the host never reads half of it.
        os.rename(path + ".new", path)
    if "PLUGMESH_INSTANCE_ID" not in os.environ:
        target = address.removeprefix("tcp://") if address.startswith("tcp") else f"-unix {address[len('unix://'):]}"
        print(f"{name} listens on {address}")
        print(f"  look at it:           grpcurl -plaintext {target} list")
        print(f"  into a running host:  plugmesh attach {name} {address}", flush=True)


def watch_lifeline(gone: Callable[[], None]) -> BinaryIO | None:
    """Calls `gone` when the host is gone. Keep the result for as long as that is to be watched."""
    number = os.environ.get("PLUGMESH_LIFELINE_FD")
    if not number:
        return None
    try:
        copy = os.dup(int(number))
        mode = os.fstat(copy).st_mode
        if not stat.S_ISFIFO(mode) and not stat.S_ISSOCK(mode):
            raise OSError("it is neither a pipe nor a socket")
        file = os.fdopen(copy, "rb", buffering=0)
    except (OSError, ValueError, OverflowError) as error:
        log.warning("PLUGMESH_LIFELINE_FD is of no use", extra={"fields": {"error": str(error)}})
        return None

    def readable() -> None:
        try:
            data = file.read(64)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(file)
            gone()

    asyncio.get_running_loop().add_reader(file, readable)
    return file


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
