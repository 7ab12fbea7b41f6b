# shellcheck shell=sh
# What the operations share: the request, and where a site is on disk.
#
#   $HTPASSWD_ROOT/<instance>/public/         what the web server shows
#   $HTPASSWD_ROOT/<instance>/users           user:hash, a line each, as nginx, Apache and Caddy's plugins read it
#   $HTPASSWD_ROOT/<instance>/location.conf   to be included by nginx
set -eu
umask 027

request=$(cat)
root=${HTPASSWD_ROOT:-$PWD/sites}
url=${HTPASSWD_URL:-http://localhost}

# field SECTION NAME: a text of the request, which has a line for each member. What users type cannot look like
# another member: their line breaks and quotes are escaped, and their names are indented deeper.
field() {
  printf '%s\n' "$request" | sed -n "/^  \"$1\": {/,/^  }/s/^    \"$2\": \"\\(.*\\)\",\\{0,1\\}\$/\\1/p"
}

# parameter SECTION NAME: the same of the parameters there.
parameter() {
  printf '%s\n' "$request" | sed -n "/^  \"$1\": {/,/^  }/{/^    \"parameters\": {/,/^    }/s/^      \"$2\": \"\\(.*\\)\",\\{0,1\\}\$/\\1/p;}"
}

id=$(field instance id)
site=$root/$id

# One at a time for each site: binds of different apps come at once.
lock() {
  exec 9>"$site/lock"
  flock 9
}

# settle PLAN REALM: the web server's settings, complete or not there.
settle() {
  {
    echo "location /$id/ {"
    echo "  alias $site/public/;"
    if [ "$1" = private ]; then
      echo "  auth_basic \"$2\";"
      echo "  auth_basic_user_file $site/users;"
    fi
    echo "}"
  } >"$site/location.new"
  mv "$site/location.new" "$site/location.conf"
}

# without USER: all other lines of the users' file. None is no failure.
without() { grep -v "^$1:" "$site/users" || [ $? = 1 ]; }
