#!/bin/sh
# Reads an export into the target database; killed, the same command goes on.
set -eu
exec compozy --config=compozy-target.yaml import "$1"
