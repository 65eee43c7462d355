#!/bin/sh
# Makes a virtual environment and generates the code for protos, both in the plugin's directory, from which this is run:
#
#     sh ../../python/build.sh [--proto_path=DIR] PROTO...
#
# The contract and the plugin's own folder `proto` are on the path anyway.
set -eu
shared=$(dirname "$0")

rm -rf generated
# A virtual environment remembers where it lies, so one that was moved here is made anew.
if ! .venv/bin/python -c 'import sys, os; sys.exit(os.path.realpath(sys.prefix) != os.path.realpath(".venv"))' 2>/dev/null; then
    rm -rf .venv
    python3 -m venv .venv
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement "$shared/requirements.txt"

mkdir generated
.venv/bin/python -m grpc_tools.protoc \
    --proto_path="$shared/../../proto" --proto_path=proto \
    --python_out=generated --pyi_out=generated --grpc_python_out=generated \
    plugmesh/plugin/v1/plugin.proto "$@"
# The last step: what was left half done is done again.
touch generated/.complete .venv/.complete
