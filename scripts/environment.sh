# Sourced by the other scripts: `environment EXTRAS [FOLDER]` makes .venv, or FOLDER, (or uses an
# active virtual environment) with the project and the extras installed, and sets $python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment() {
    local extras="$1" folder="${2:-.venv}" base="${PYTHON:-python3}" stamp
    if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "snnsim needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2
        exit 1
    fi
    if [ -n "${VIRTUAL_ENV:-}" ]; then
        python="$VIRTUAL_ENV/bin/python"
    else
        [ -x "$folder/bin/python" ] || "$base" -m venv "$folder"
        python="$PWD/$folder/bin/python"
    fi
    stamp="$(dirname "$python")/../.snnsim-$(echo "$extras" | tr ',' '-')"
    if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ constraints.txt -nt "$stamp" ]; then
        echo "installing snnsim[$extras] into $(dirname "$(dirname "$python")") ..." >&2
        "$python" -m pip install --quiet --disable-pip-version-check \
            --constraint constraints.txt --editable ".[$extras]"
        touch "$stamp"
    fi
}
