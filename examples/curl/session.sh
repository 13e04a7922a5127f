#!/bin/sh
# The queue from a shell: sh session.sh http://127.0.0.1:7861 "a lighthouse at dusk" picture.png
set -eu
server=${1:-http://127.0.0.1:7861}
prompt=${2:-a lighthouse at dusk}
file=${3:-picture.png}
api=$server/queue-ext/v1

# Who I am: a secret of my own, kept where only I can read it. One secret, one owner of jobs.
secret=${QUEUE_CLIENT_ID:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}
call() { curl -sS --fail-with-body -H "X-Queue-Client: $secret" "$@"; }
field() { grep -o "\"$1\": *\"[^\"]*\"" | head -1 | cut -d'"' -f4; }

# What is left to me today.
call "$api/me"; echo

# Submit. The same key gives the same job, so the line may be repeated until it is answered.
escaped=$(printf %s "$prompt" | sed 's/[\\"]/\\&/g')
job=$(call --retry 5 --retry-connrefused "$api/jobs" -H 'Content-Type: application/json' -H "Idempotency-Key: $secret-1" \
  -d "{\"task\": \"txt2img\", \"payload\": {\"prompt\": \"$escaped\", \"steps\": 20, \"width\": 512, \"height\": 512}}")
id=$(printf %s "$job" | field id)
printf %s "$job" | field message

# Wait for it. (A program listens on the socket instead: see ../python.)
state=$(printf %s "$job" | field state)
while [ "$state" != succeeded ]; do
  case $state in failed | deleted) call "$api/jobs/$id"; exit 1 ;; esac
  sleep 1
  state=$(call "$api/jobs/$id" | field state)
done

# The picture, its small version, and all of a job as a zip.
call -o "$file" "$api/jobs/$id/images/0"
call -o "$file.webp" "$api/jobs/$id/images/0/thumbnail"
call -o "$file.zip" "$api/jobs/$id/images.zip"
echo "$file"

# One that is not wanted after all: in an hour, and cancelled.
later=$(call "$api/jobs" -H 'Content-Type: application/json' \
  -d '{"task": "txt2img", "payload": {"prompt": "later"}, "delay_s": 3600}' | field id)
call -X DELETE "$api/jobs/$later" | field state

# An error says what is wrong and what is allowed.
curl -sS -H "X-Queue-Client: $secret" "$api/jobs" -H 'Content-Type: application/json' \
  -d '{"task": "txt2img", "payload": {"prompt": "x", "width": 5}}' | field detail
