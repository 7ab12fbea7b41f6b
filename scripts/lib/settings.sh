# shellcheck shell=bash disable=SC2034  # the scripts that source this file use what it sets
# Where the demo keeps its things and what can be chosen about it. Sourced, never run.
#
# A setting comes from the environment, else from the last `make demo` in the same data folder, else from here.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
DEMO_DATA=$(realpath -m "${DEMO_DATA:-$ROOT/.demo}")
LOGS=$DEMO_DATA/log     # one file a step, and one a daemon
RUN=$DEMO_DATA/run      # who runs: process ids
ENGINE=$DEMO_DATA/engine # a Docker engine that we started by hand
BIN=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")/release

# Servers and package tools of Debian live where an ordinary user does not look; rustup's in the home directory.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin
export PATH

# What tells the demo's containers and images from other ones: labels that tsurud puts on them, and the names of the
# images that base-image and platform-images make.
PLATFORM_ID=$(cat "$DEMO_DATA/tsurud/platform-id" 2>/dev/null || echo none-yet) # tsurud makes it on its first start
CONTAINER_LABEL=tsuru.instance=$PLATFORM_ID
IMAGE_LABEL=tsuru.instance=$PLATFORM_ID
IMAGE_NAMES='^(debian:bookworm-slim|tsuru/)'

APP=blog
PLATFORMS=(python static)
SERVICES=(redis mysql)
DOMAIN=localhost
ADMIN=admin@example.com
TEAM='admin'

SETTINGS=(
  DEMO_API_PORT=8080          # tsurud's API and git endpoint, on 127.0.0.1
  DEMO_HTTP_PORT=8090         # the router: apps answer here, on all addresses
  DEMO_REDIS_BROKER_PORT=8091 # redis-broker, on 127.0.0.1
  DEMO_MYSQL_BROKER_PORT=8092 # mysql-broker, on 127.0.0.1
)

# Takes each setting from the first place that has it.
read_settings() {
  local setting name value
  for setting in "${SETTINGS[@]}"; do
    name=${setting%%=*}
    value=${!name:-}
    [[ -n $value || ! -f $DEMO_DATA/settings ]] || value=$(sed -n "s/^$name=//p" "$DEMO_DATA/settings")
    value=${value:-${setting#*=}}
    [[ $value =~ ^[1-9][0-9]{0,4}$ && $value -le 65535 ]] ||
      fail "$name is \"$value\"" "It has to be a port: a number from 1 to 65535."
    printf -v "$name" %s "$value"
  done
}

# Keeps them for the next run, for demo-status and for demo-down.
write_settings() {
  local setting name
  for setting in "${SETTINGS[@]}"; do
    name=${setting%%=*}
    printf '%s=%s\n' "$name" "${!name}"
  done >"$DEMO_DATA/settings"
}

# The data folder, for its owner only. A marker proves later that it is ours to remove.
make_data_folder() {
  if [[ ! -e $DEMO_DATA/.made-by-make-demo ]]; then
    [[ -z $(ls -A "$DEMO_DATA" 2>/dev/null) ]] ||
      fail "$DEMO_DATA has something else in it" "Choose an empty or new folder: DEMO_DATA=/some/folder"
    mkdir -p "$DEMO_DATA"
    # Servers of a broker that root runs are not root's: they must get to their own folder, and see nothing on the way.
    chmod 0711 "$DEMO_DATA"
    : >"$DEMO_DATA/.made-by-make-demo"
  fi
  mkdir -p "$LOGS" "$RUN"
  chmod 0700 "$LOGS" "$RUN"
}

# The images that the demo may make and that exist, one a line. What was there before the demo stays after it.
image_names() { docker images --format '{{.Repository}}:{{.Tag}}' | { grep -E "$IMAGE_NAMES" || true; } | sort -u; }
