# shellcheck shell=bash
# The Docker engine: is one running, and if not, starting the installed one. Sourced, never run.
#
# Where there is no systemd (a container, a chroot) dockerd is started by hand and can be stopped again. Another engine
# may already use this network namespace, from a mount namespace that we don't see: it owns the bridge docker0 and the
# chains in iptables, and a second engine that took them over would hand out the same addresses twice. Ours then gets
# a bridge of its own and leaves iptables alone, but for three rules that we add. Needs say.sh and process.sh.

engine_answers() { timeout 15 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Programs other than `docker` find the engine by DOCKER_HOST only: a chosen context is told to them that way.
export_engine_address() {
  local host
  [[ -z ${DOCKER_HOST:-} ]] || return 0
  host=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || return 0
  [[ -z $host || $host == unix:///var/run/docker.sock ]] || export DOCKER_HOST=$host
}

# Makes sure that an engine answers, starting the installed one if it must.
engine_start() {
  if engine_answers; then
    note "the Docker engine that is running is used"
    return
  fi
  if [[ -n ${DOCKER_HOST:-} ]]; then
    fail "the Docker engine at DOCKER_HOST=$DOCKER_HOST does not answer" \
      "Start it, or unset DOCKER_HOST to use the engine of this machine."
  fi
  if [[ -S /var/run/docker.sock ]] && as_root timeout 15 docker version >/dev/null 2>&1; then
    join_docker_group
  elif [[ -d /run/systemd/system ]]; then
    note "starting the Docker engine with systemd"
    as_root systemctl start docker ||
      fail "systemd could not start the Docker engine" "The reason: journalctl -u docker -n 20"
    engine_answers || join_docker_group
  else
    engine_start_by_hand
  fi
}

# An engine that only root and the group may talk to: the group is joined, once and aloud.
join_docker_group() {
  ((EUID != 0)) || fail "the Docker engine does not answer" "What it says: docker version"
  if ! id -nG "$(id -un)" | grep -qw docker; then
    note "adding you to the group \"docker\", whose members may use Docker (and so may act as root)"
    as_root usermod -aG docker "$(id -un)"
  fi
}

# A group joined just now counts for new logins only: this script begins anew with it.
# Called by the scripts that use Docker, as: with_docker_group "$0" "$@"
with_docker_group() {
  ! engine_answers || return 0
  [[ -z ${WITH_DOCKER_GROUP:-} && " $(id -nG "$(id -un)") " == *" docker "* ]] ||
    fail "the Docker engine does not answer" "What it says: docker version"
  export WITH_DOCKER_GROUP=1
  exec sg docker -c "$(printf '%q ' "$@")"
}

# The process id of a dockerd that was started by hand, if it is alive.
engine_pid() {
  local pid
  pid=$(cat "$ENGINE/dockerd.pid" 2>/dev/null) || return 1
  [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]] && start_time "$pid" >/dev/null && echo "$pid"
}

engine_start_by_hand() {
  note "starting a Docker engine by hand (no systemd here): its log is $ENGINE/dockerd.log"
  command -v dockerd >/dev/null || fail "there is no dockerd to start" "Install the Debian package docker.io."
  mkdir -p "$ENGINE"
  if ! engine_pid >/dev/null; then
    # An id left by a machine that went down may belong to anybody now, and dockerd would not start over it.
    rm -f "$ENGINE/dockerd.pid"
    local -a arguments=(--pidfile "$ENGINE/dockerd.pid")
    ((EUID == 0)) || arguments+=(--group "$(id -gn)")
    forget_dead_containerd
    choose_firewall
    choose_bridge
    local -a wrapper=()
    ! in_chroot || wrapper=("$ROOT/scripts/lib/with-own-root")
    as_root env PATH="$ENGINE/bin:$PATH" setsid -f "${wrapper[@]}" dockerd "${arguments[@]}" "${BRIDGE_ARGUMENTS[@]}" \
      </dev/null >"$ENGINE/dockerd.log" 2>&1
  fi
  await_engine
}

# An engine that was killed leaves the process id of its containerd. While anything has that id, be it a process that
# nobody has reaped, the next engine waits for a containerd that never answers.
forget_dead_containerd() {
  local file=/var/run/docker/containerd/containerd.pid pid
  pid=$(as_root cat "$file" 2>/dev/null) || return 0
  if [[ $(cat "/proc/$pid/comm" 2>/dev/null) != containerd ]] || ! start_time "$pid" >/dev/null; then
    as_root rm -f "$file"
  fi
}

# Whether our root is not the root of the mount namespace that we are in.
in_chroot() {
  local root
  root=$(as_root nsenter --mount=/proc/self/ns/mnt -- stat -c %d:%i / 2>/dev/null) || return 1
  [[ $root != "$(stat -c %d:%i /)" ]]
}

await_engine() {
  local waited
  for ((waited = 0; waited < 600; waited++)); do
    if engine_answers; then
      [[ ! -f $ENGINE/bridge ]] || claim_bridge "$(engine_pid)"
      return
    fi
    # It writes its id within the first second; an id that is gone later means that it gave up.
    if ((waited > 30)) && ! engine_pid >/dev/null; then break; fi
    sleep 0.1
  done
  local -a ending=()
  local line
  while IFS= read -r line; do ending+=("  | $line"); done < <(tail -n 12 "$ENGINE/dockerd.log")
  fail "the Docker engine did not start" "The last lines of $ENGINE/dockerd.log:" "${ending[@]}" \
    "To go on: start a Docker engine in your own way (\`docker version\` must answer), then try again."
}

# iptables speaks to one of two tables in the kernel; not every kernel has the one that Debian chooses.
# The engine sees the one that works through a folder in its PATH, so the system's choice stays.
choose_firewall() {
  FIREWALL=''
  local candidate
  for candidate in iptables iptables-legacy; do
    if as_root "$candidate" -t nat -S >/dev/null 2>&1; then
      FIREWALL=$candidate
      break
    fi
  done
  mkdir -p "$ENGINE/bin"
  if [[ $FIREWALL == iptables-legacy ]]; then
    ln -sf "$(command -v iptables-legacy)" "$ENGINE/bin/iptables"
    ln -sf "$(command -v ip6tables-legacy)" "$ENGINE/bin/ip6tables"
  fi
  [[ -n $FIREWALL ]] || note "iptables does not work here: containers will not reach the network, builds with downloads will fail"
}

choose_bridge() {
  local name network
  read -r name network < <(cat "$ENGINE/bridge" 2>/dev/null) || true
  if [[ ! -d /sys/class/net/docker0 || ${name:-} == docker0 ]]; then
    echo docker0 >"$ENGINE/bridge"
    BRIDGE_ARGUMENTS=()
    [[ -n $FIREWALL ]] || BRIDGE_ARGUMENTS=(--iptables=false)
    return
  fi
  if [[ -z ${name:-} || ! -d /sys/class/net/$name ]]; then
    name=$(free_bridge) network=$(free_network)
    note "the bridge docker0 belongs to another Docker engine: ours gets $name with $network.0/24"
    echo "$name $network" >"$ENGINE/bridge"
    as_root ip link add "$name" type bridge
    as_root ip address add "$network.1/24" dev "$name"
    as_root ip link set "$name" up
    claim_bridge "$$"
  fi
  bridge_rules "$name" "$network" add
  # shellcheck disable=SC2034  # engine_start_by_hand reads it
  BRIDGE_ARGUMENTS=(--bridge "$name" --iptables=false)
}

# Each bridge carries its engine's process id and start as an alias: one whose engine is gone is cleared away.
free_bridge() {
  local n pid began
  for n in 0 1 2 3 4 5 6 7 8 9; do
    [[ -d /sys/class/net/tsuru$n ]] || { echo "tsuru$n"; return; }
    read -r pid began < <(cat "/sys/class/net/tsuru$n/ifalias") || true
    [[ -n ${began:-} && $(start_time "$pid") != "$began" ]] || continue
    remove_bridge "tsuru$n" "$(bridge_network "tsuru$n")"
    echo "tsuru$n"
    return
  done
  fail "the bridges tsuru0 to tsuru9 are all taken" "Remove those nobody uses: ip link delete tsuru0"
}

# bridge_network NAME: the first three numbers of its address.
bridge_network() { ip -4 -o address show dev "$1" | awk '{ sub("[.][0-9]*/.*", "", $4); print $4; exit }'; }

# remove_bridge NAME [NETWORK]: with the rules that were made for it.
remove_bridge() {
  [[ -z ${2:-} ]] || bridge_rules "$1" "$2" delete
  [[ ! -d /sys/class/net/$1 ]] || as_root ip link delete "$1"
}

# claim_bridge PID: see free_bridge.
claim_bridge() {
  local name network
  read -r name network <"$ENGINE/bridge" || true
  [[ -z $network ]] || as_root ip link set dev "$name" alias "$1 $(start_time "$1")"
}

# A network that nothing but the default route leads to.
free_network() {
  local n
  for n in {31..99}; do
    ip -4 route show match "10.231.$n.1" | grep -qv '^default' || { echo "10.231.$n"; return; }
  done
  fail "no free network found among 10.231.31.0/24 to 10.231.99.0/24" "Start a Docker engine in your own way, then try again."
}

# bridge_rules NAME NETWORK add|delete: what dockerd would have asked of iptables. Safe to repeat.
bridge_rules() {
  local name=$1 network=$2 verb=$3 rule
  [[ -n $FIREWALL ]] || return 0
  for rule in "nat POSTROUTING -s $network.0/24 ! -o $name -j MASQUERADE" \
    "filter FORWARD -i $name -j ACCEPT" \
    "filter FORWARD -o $name -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"; do
    local -a words
    read -ra words <<<"$rule"
    local -a on=("$FIREWALL" -t "${words[0]}")
    if as_root "${on[@]}" -C "${words[@]:1}" 2>/dev/null; then
      [[ $verb == add ]] || as_root "${on[@]}" -D "${words[@]:1}"
    else
      [[ $verb == delete ]] || as_root "${on[@]}" -I "${words[@]:1}"
    fi
  done
}

# Stops an engine that engine_start_by_hand started, and takes its bridge away. Any other engine stays.
engine_stop() {
  local pid name network waited
  if pid=$(engine_pid); then
    note "stopping the Docker engine that was started by hand"
    as_root kill "$pid"
    for ((waited = 0; waited < 300; waited++)); do
      start_time "$pid" >/dev/null || break
      sleep 0.1
    done
    ! start_time "$pid" >/dev/null || fail "dockerd (process $pid) does not stop" "Its log: $ENGINE/dockerd.log"
  fi
  if read -r name network < <(cat "$ENGINE/bridge" 2>/dev/null); then
    choose_firewall
    remove_bridge "$name" "$network"
  fi
  as_root rm -rf "$ENGINE"
}

# The address of this machine on the bridge that containers are on: how they reach servers that run here.
bridge_address() {
  local address bridge
  address=$(docker network inspect bridge --format '{{range .IPAM.Config}}{{.Gateway}}{{end}}')
  if [[ -z $address ]]; then
    bridge=$(docker network inspect bridge --format '{{index .Options "com.docker.network.bridge.name"}}')
    address=$(ip -4 -o address show dev "${bridge:-docker0}" | awk '{ sub("/.*", "", $4); print $4; exit }')
  fi
  [[ -n $address ]] || fail "the Docker engine's bridge has no address" "What it says: docker network inspect bridge"
  echo "$address"
}
