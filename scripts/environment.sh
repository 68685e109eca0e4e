# Sourced by demo and test: makes the virtual environment .venv at the root of the repository and sets $python.
# The first run fetches and builds everything; later ones compare a stamp and are done at once. On a machine with
# a sourced ROS distribution that one is used, else ROS comes from PyPI's wheels, into .venv only.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
python=$venv/bin/python
log=$venv/setup.log
constraints=$venv/constraints.txt
torch=${SEG_ROS_TORCH:-torch==2.13.0}
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE # inherited if a Python of another environment started this script

stop() {
  printf '\n%s\n' "$*" >&2
  exit 1
}

is_true() { python3 -c "import sys; sys.exit(not ($1))" 2>/dev/null; }

choose_ros() { # sets $ros to 'sourced' or 'wheels'
  if [[ -n ${ROS_DISTRO:-} && -n ${AMENT_PREFIX_PATH:-} ]]; then
    ros=sourced
    python3 -c 'import rclpy' 2>/dev/null || stop "ROS $ROS_DISTRO is sourced, but $(command -v python3) cannot import
rclpy. Put the Python of the distribution first on PATH, or use a shell without ROS."
  else
    ros=wheels
    [[ $(uname -s)-$(uname -m) == Linux-x86_64 ]] || stop "No ROS distribution is sourced, and PyPI has the wheels of ROS
only for Linux on x86_64, not for $(uname -s) on $(uname -m). Source a ROS distribution and start again."
  fi
}

check_machine() {
  local packages='sudo apt-get install python3-venv python3-dev build-essential'
  command -v python3 >/dev/null || stop "python3 is missing. On Debian and Ubuntu: $packages"
  is_true "(3, 10) <= sys.version_info < (3, 15)" || stop "python3 is '$(python3 -V 2>&1)', expected Python 3.10 to 3.14."
  python3 -c 'import venv, ensurepip' 2>/dev/null ||
    stop "python3 cannot make virtual environments. On Debian and Ubuntu: $packages"
  is_true "__import__('os').path.exists(__import__('sysconfig').get_path('include') + '/Python.h')" ||
    stop "Python's headers are missing; the ROS messages are built with them. On Debian and Ubuntu: $packages"
  command -v cc >/dev/null && command -v c++ >/dev/null ||
    stop "A C and a C++ compiler are missing; the ROS messages are built with them. On Debian and Ubuntu: $packages"
}

fingerprint() { # of all that an installation depends on
  {
    echo "$root $ros ${ROS_DISTRO:-} $torch $(python3 -V 2>&1)"
    cat "$root"/{setup.py,pyproject.toml,package.xml,CMakeLists.txt,scripts/environment.sh}
    cat "$root"/{msg,srv}/* 2>/dev/null || true # a folder may not be there
  } | sha256sum | cut -d' ' -f1
}

step() { # step WHAT COMMAND...: one line of progress; the output goes to the log
  local what=$1 started=$SECONDS
  shift
  printf '  %-52s' "$what"
  if "$@" >>"$log" 2>&1; then
    printf '%4d s\n' $((SECONDS - started))
    return
  fi
  printf 'failed\n\n' && tail -n 12 "$log" >&2
  if tail -n 12 "$log" | grep -qE 'No matching distribution|Max retries|[Cc]onnection|name resolution|ProxyError|SSLError|timed out'; then
    stop "pip could not fetch a package: the package registry cannot be reached or does not have it. Check the network,
the proxy and 'python3 -m pip config list'; a mirror goes into PIP_INDEX_URL, another torch into SEG_ROS_TORCH."
  fi
  stop "This step failed: $what. The whole log is in $log"
}

make_venv() {
  local system=false options=()
  [[ $ros == sourced ]] && system=true && options=(--system-site-packages)
  if ! grep -qs "include-system-site-packages = $system" "$venv/pyvenv.cfg" || ! "$python" -m pip --version &>/dev/null; then
    rm -rf "$venv"
    python3 -m venv "${options[@]}" "$venv" || stop "No virtual environment could be made in $venv."
  fi
}

pip_install() { "$python" -m pip --disable-pip-version-check --no-input --retries 2 install --progress-bar off "$@"; }

keep_installed() { # what no later step may replace: torch, and the NumPy that a distribution's cv_bridge was built for
  "$python" - "$ros" >"$constraints" <<'PY'
import sys
from importlib.metadata import version

print(f"torch=={version('torch')}")
if sys.argv[1] == 'sourced':
    print(f"numpy=={version('numpy')}")
PY
}

build_requirements() { # those of pyproject.toml; of ROS only the wheels' own
  "$python" - "$root/pyproject.toml" <<'PY' | if [[ $ros == sourced ]]; then grep -vE '^(ros-|catkin)'; else cat; fi
import sys

try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib

with open(sys.argv[1], 'rb') as file:
    print('\n'.join(tomllib.load(file)['build-system']['requires']))
PY
}

install_everything() {
  local extras=onnx,openvino,train,segments,dev
  [[ $ros == wheels ]] && extras=ros,$extras
  step "$torch" pip_install "$torch"
  keep_installed
  build_requirements >"$venv/build-requirements.txt"
  step 'build tools and message generators' pip_install -c "$constraints" -r "$venv/build-requirements.txt"
  step 'seg_ros, its messages and what it needs' \
    pip_install -c "$constraints" --no-build-isolation -e "$root[$extras]"
}

prepare() {
  choose_ros
  check_machine
  local wanted
  wanted=$(fingerprint)
  if [[ $(cat "$venv/stamp" 2>/dev/null) != "$wanted" || ! -d $root/seg_ros/msg ]]; then
    echo "Setting up $venv (ROS: ${ROS_DISTRO:-from PyPI}); the first time takes some minutes."
    make_venv
    : >"$log"
    install_everything
    echo "$wanted" >"$venv/stamp"
  fi
  export VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH
}

prepare
