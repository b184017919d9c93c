#!/bin/sh
# Writes what the source database holds to stdout, as one JSON document.
set -eu
exec compozy --config=compozy-source.yaml export -o json
