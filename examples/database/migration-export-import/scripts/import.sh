#!/bin/sh
# Reads an export into the target database; killed, the same command goes on. Further flags are those of `compozy import`.
set -eu
exec compozy --config=compozy-target.yaml import "$@"
