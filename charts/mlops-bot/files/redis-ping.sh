#!/bin/sh
# Redis' probe: redis-cli ends with success whatever the answer is.
[ "$(sh "$(dirname "$0")/redis-cli.sh" PING)" = PONG ]
