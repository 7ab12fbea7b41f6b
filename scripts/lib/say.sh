# shellcheck shell=bash
# What the user sees: steps, notes, live output, failures. Sourced, never run.

# step TEXT: a new step begins.
step() {
  CURRENT_STEP=$*
  printf '%s==>%s %s\n' "$BOLD" "$PLAIN" "$*"
}

# note TEXT: a line about the step that runs.
note() { printf '    %s\n' "$*"; }

# fail WHAT [HOW TO GO ON]...: says so and ends the script.
fail() {
  {
    printf '\n%s==> failed:%s %s\n' "$RED" "$PLAIN" "$1"
    shift
    local line
    for line in "$@"; do printf '    %s\n' "$line"; done
  } >&2
  exit 1
}

# attempt LOG HINT COMMAND...: runs a command. Its output passes by (on a terminal: its last line, in place) and stays
# in $LOGS/LOG.log; when it fails, the end of that log, its path and the hint are shown, and the script ends.
attempt() { attempt_with passing "$@"; }

# attempt_aloud LOG HINT COMMAND...: the same, with all the output left to read.
attempt_aloud() { attempt_with indented "$@"; }

attempt_with() {
  local shown=$1 name=$2 hint=$3 log=$LOGS/$2.log status=0 begun=$SECONDS
  shift 3
  mkdir -p "$LOGS"
  # Not as part of a condition: there a function's failing steps would not end it.
  set +e
  (
    set -e
    "$@"
  ) </dev/null 2>&1 | tee "$log" | "$shown"
  status=${PIPESTATUS[0]}
  set -e
  if ((status != 0)); then
    local -a ending=("It ended with exit status $status. The last lines of $log:")
    local line
    while IFS= read -r line; do ending+=("  | $line"); done < <(tail -n 12 "$log")
    fail "${CURRENT_STEP:-$name}" "${ending[@]}" "To go on: $hint"
  fi
  ((SECONDS - begun < 2)) || note "done in $((SECONDS - begun)) s"
}

indented() { sed -u 's/^/    /'; }

# On a terminal the latest line stands in for all; elsewhere (a CI's log) every line is kept.
passing() {
  [[ -t 1 ]] || { indented; return; }
  local line width
  width=$(($(tput cols 2>/dev/null || echo 100) - 6))
  while IFS= read -r line || [[ -n $line ]]; do printf '\r\033[K    %s' "${line:0:width}"; done
  printf '\r\033[K'
}

# as_root COMMAND...: with sudo, unless we are root already.
as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  BOLD=$'\033[1m' RED=$'\033[1;31m' PLAIN=$'\033[0m'
else
  BOLD='' RED='' PLAIN=''
fi
