export VIRTUAL_ENV=/home/application/venv
export PATH="$VIRTUAL_ENV/bin:$PATH"
