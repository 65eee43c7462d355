#!/bin/sh
# Makes a virtual environment and generates the code for the protos. Run from this directory.
set -eu

rm -rf generated
# A virtual environment remembers where it lies, so one that was moved here is made anew.
if ! .venv/bin/python -c 'import sys, os; sys.exit(os.path.realpath(sys.prefix) != os.path.realpath(".venv"))' 2>/dev/null; then
    rm -rf .venv
    python3 -m venv .venv
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt

mkdir generated
.venv/bin/python -m grpc_tools.protoc \
    --proto_path=../../../proto --proto_path=../calculator/proto --proto_path=proto \
    --python_out=generated --grpc_python_out=generated \
    plugmesh/plugin/v1/plugin.proto calculator/v1/calculator.proto text/v1/text.proto
# The last step: what was left half done is done again.
touch generated/.complete .venv/.complete
