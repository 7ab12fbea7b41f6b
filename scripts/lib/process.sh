# shellcheck shell=bash
# Processes that outlive the script: started once, kept while nothing about them changes, stopped. Sourced, never run.
#
# $RUN/NAME.pid holds the process id and when that process began (an id alone may belong to somebody else by now);
# $RUN/NAME.made-of says which binary and arguments it was started with.

# start_time PID: when it began, in ticks since boot (field 22 of /proc/PID/stat, counted behind the name).
start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  local -a fields
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} != Z ]] && echo "${fields[19]}"
}

# daemon_pid NAME: its process id, if it is alive and still the one that we started.
daemon_pid() {
  local pid began
  read -r pid began < <(cat "$RUN/$1.pid" 2>/dev/null) || return 1
  [[ -n $began && $(start_time "$pid") == "$began" ]] && echo "$pid"
}

# daemon_keep NAME READY_URL PORT=SETTING,... COMMAND...: starts it, or restarts it when its binary or its arguments
# changed, or leaves it as it is; returns when READY_URL is answered.
daemon_keep() {
  local name=$1 ready=$2 ports=$3 made_of
  shift 3
  made_of=$(stat -c '%i %s %Y' "$1"; printf '%q ' "$@")
  local pid='' port
  if pid=$(daemon_pid "$name"); then
    if [[ $made_of == "$(cat "$RUN/$name.made-of" 2>/dev/null)" ]]; then
      await_daemon "$name" "$ready"
      note "$name runs already"
      return
    fi
    note "$name is restarted: its binary or its settings have changed"
  fi
  # Asked before the old one is stopped: a port that is taken leaves everything as it was.
  for port in ${ports//,/ }; do port_is_free "${port%%=*}" "${port#*=}" "$pid"; done
  daemon_stop "$name"
  daemon_spawn "$name" "$@"
  echo "$made_of" >"$RUN/$name.made-of"
  await_daemon "$name" "$ready"
  note "$name is up, process $(daemon_pid "$name"), log $LOGS/$name.log"
}

# Without a terminal and in a session of its own, so that nothing that ends here ends it.
daemon_spawn() {
  local name=$1 pid
  shift
  (cd "$DEMO_DATA" && exec setsid "$@") </dev/null >>"$LOGS/$name.log" 2>&1 &
  pid=$!
  echo "$pid $(start_time "$pid")" >"$RUN/$name.pid"
}

await_daemon() {
  local name=$1 ready=$2 waited
  for ((waited = 0; waited < 300; waited++)); do
    ! curl -s --noproxy '*' --max-time 2 -o /dev/null "$ready" || return 0
    daemon_pid "$name" >/dev/null || break
    sleep 0.1
  done
  local -a ending=()
  local line
  while IFS= read -r line; do ending+=("  | $line"); done < <(tail -n 12 "$LOGS/$name.log")
  fail "$name did not start" "The last lines of $LOGS/$name.log:" "${ending[@]}" \
    "To go on: mend what it says, then run \`make demo\` again; what is done already stays."
}

# daemon_stop NAME: asks first, kills after 20 seconds. One that is gone is a success.
daemon_stop() {
  local name=$1 pid waited
  if pid=$(daemon_pid "$name"); then
    kill "$pid"
    for ((waited = 0; waited < 200; waited++)); do
      daemon_pid "$name" >/dev/null || break
      sleep 0.1
    done
    ! daemon_pid "$name" >/dev/null || kill -9 "$pid"
  fi
  rm -f "$RUN/$name.pid" "$RUN/$name.made-of"
}

# port_is_free PORT SETTING [PID]: or a failure that says who has it and what to set. PID may have it.
port_is_free() {
  local port=$1 setting=$2 socket holder
  socket=$(ss -Hltnp "sport = :$port" 2>/dev/null)
  [[ -n $socket && ( -z ${3:-} || $socket != *"pid=$3,"* ) ]] || return 0
  holder=$(sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (process \2)/p' <<<"$socket" | head -n 1)
  fail "port $port is taken by ${holder:-a process of another user}" \
    "To go on: choose another one, \`make demo $setting=$((port + 100))\`, or stop that process."
}
