#!/usr/bin/env bash
# Runs the workflow `benchmark` RUNS times at once on a server of its own and writes what it measured.
#   ./benchmark.sh --config=compozy-postgres.yaml
set -euo pipefail
cd "$(dirname "$0")"

usage() { echo "usage: $0 --config=FILE" >&2; exit 2; }
case "${1:-}" in
  --config=*) config=${1#--config=} ;;
  --config) config=${2:-} ;;
  -*|"") usage ;;
  *) config=$1 ;;
esac
[ -f "$config" ] || { echo "error: no file $config" >&2; exit 2; }
case "$config" in
  *postgres*) database=PostgreSQL results=results-postgres.json ;;
  *) database=SQLite results=results-sqlite.json ;;
esac
runs=${RUNS:-10}
# Without a key nobody is asked: what is measured is the database.
[ -n "${OPENAI_API_KEY:-}" ] || grep -qs '^OPENAI_API_KEY=.' .env || export COMPOZY_MOCK_LLM=1

work=$(mktemp -d)
server=
finish() {
  [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" || true; }
  rm -rf "$work"
}
trap finish EXIT

compozy start --config="$config" >"$work/server.log" 2>&1 &
server=$!
until compozy doctor --health --config="$config" >/dev/null 2>&1; do
  kill -0 "$server" 2>/dev/null || { server=; cat "$work/server.log" >&2; exit 1; }
  sleep 0.1
done

echo "Running benchmark with $database..."
begun=$(date +%s%N)
waiting=()
for run in $(seq "$runs"); do
  compozy workflow run benchmark --config="$config" -o json >"$work/$run.json" 2>"$work/$run.err" &
  waiting+=($!)
done
failed=0
for process in "${waiting[@]}"; do
  wait "$process" || failed=$((failed + 1))
done
ended=$(date +%s%N)
[ "$failed" = 0 ] || { cat "$work"/*.err >&2; echo "error: $failed of $runs runs failed" >&2; exit 1; }

# Members of the outermost object stand two blanks deep. Times are in UTC and equally long, so they sort as text.
member() { sed -n "s/^  \"$1\": \"\{0,1\}\([^\",]*\).*/\1/p" "$2"; }
average=$(for run in "$work"/*.json; do member duration_ms "$run"; done | awk '{ sum += $1 } END { printf "%d", sum / NR + 0.5 }')
# A run that ends when another begins does not run beside it.
peak=$(for run in "$work"/*.json; do
    echo "$(member started_at "$run") +1"; echo "$(member finished_at "$run") -1"
  done | sort -k1,1 -k2,2r | awk '{ now += $2; if (now > most) most = now } END { print most }')
seconds=$(awk -v ns=$((ended - begun)) 'BEGIN { printf "%.1f", ns / 1e9 }')

echo "$runs workflows executed in ${seconds}s"
echo "Average latency: ${average}ms"
echo "Peak concurrency: $peak workflows"
cat >"$results" <<JSON
{"database": "$database", "workflows": $runs, "seconds": $seconds, "average_latency_ms": $average, "peak_concurrency": $peak}
JSON
