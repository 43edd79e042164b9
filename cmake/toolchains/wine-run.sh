#!/bin/sh
# wine-run.sh [--wine FOLDER] PROGRAM.exe [ARGS...]: runs a Windows program with Wine in a prefix of the build.
#   without --wine   the machine's Wine, in WINEPREFIX or build/wine-prefix
#   --wine FOLDER    the Wine that get-wine.sh laid out in FOLDER, in FOLDER-prefix. Without a Wine there, exits with 77,
#                    which ctest counts as skipped
# CMake and ctest call it for every program built with the MinGW toolchain.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
: "${WINEDEBUG:=-all}"
# Turns off the offer to install a browser engine, and the debugger's report for programs that crash on purpose. mscoree
# must stay on: no managed assembly loads without it.
: "${WINEDLLOVERRIDES:=mshtml=;winedbg.exe=d}"
export WINEDEBUG WINEDLLOVERRIDES

# find_tool NAME...: prints the first of these programs that exists. The callers name the 64-bit programs first:
# Debian's wrappers in /usr/bin look for a 32-bit Wine and print a warning.
find_tool() {
  for name in "$@"; do
    if tool=$(command -v "$name"); then
      printf '%s\n' "$tool"
      return
    fi
  done
  echo "wine-run.sh: no $1 (Debian package wine64; cmake -P cmake/test.cmake installs it)" >&2
  exit 127
}
if [ "$1" = --wine ]; then
  folder=$2
  shift 2
  wine=$folder/usr/lib/wine/wine
  server=$folder/usr/lib/wine/wineserver
  if [ ! -x "$wine" ]; then
    echo "wine-run.sh: SKIPPED: no Wine in $folder: cmake -P cmake/test.cmake lays it out"
    exit 77
  fi
  if [ -n "${CLRHM_NOT_EMULATED:-}" ] && [ -e "$folder/usr/lib/wine/wine-emulated" ]; then
    echo "wine-run.sh: SKIPPED: this machine's kernel runs no 32-bit code, and this suite does not run in the emulation;"
    echo "  see CLRHM_EMULATED_SUITES in tests/CMakeLists.txt"
    exit 77
  fi
  WINEPREFIX=$folder-prefix
  WINELOADER=$wine
  WINESERVER=$server
  WINEDLLPATH=$folder/usr/lib/wine/dlls
  export WINESERVER WINEDLLPATH
  # A prefix is for 32-bit programs only if this is set when it is created.
  if [ -d "$folder/usr/lib/i386-linux-gnu/wine" ]; then
    export WINEARCH=win32
  fi
else
  wine=$(find_tool /usr/lib/wine/wine64 wine64 wine)
  server=$(find_tool /usr/lib/wine/wineserver64 wineserver64 wineserver)
  : "${WINEPREFIX:=$here/../../build/wine-prefix}"
  : "${WINELOADER:=$wine}"
fi
export WINEPREFIX WINELOADER
mkdir -p "$WINEPREFIX"

# Starts Wine's server with -p60: it stays for a minute after the last program ends. The next program then starts in
# 0.1 s instead of 2.5 s. If a server is running already, this command fails within a millisecond.
#
# The first program under a new server starts Wine's services, which inherit its output and outlive it. If they
# inherited this script's output, a caller that reads it to its end would wait for the services. So wineboot starts
# the services first, with output to /dev/null. A second caller waits at the lock until the services run, so its
# program does not start them either. The server and the services must not inherit the lock, or they would hold it:
# 9>&- closes it for them.
(
  flock 9
  if "$server" -p60 </dev/null >/dev/null 2>&1 9>&-; then
    "$wine" wineboot -i </dev/null >/dev/null 2>&1 9>&- || true
  fi
) 9>"$WINEPREFIX/clrhm-start.lock"
exec "$wine" "$@"
