#!/bin/sh
# wine-run.sh PROGRAM.exe [ARGS...]: runs a Windows program with Wine in the build's own prefix.
# CMake and ctest call it for every program built with the MinGW toolchain.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
: "${WINEPREFIX:=$here/../../build/wine-prefix}"
: "${WINEDEBUG:=-all}"
# Turns off the offer to install a browser engine, and the debugger's report for programs that crash on purpose. mscoree
# must stay on: no managed assembly loads without it.
: "${WINEDLLOVERRIDES:=mshtml=;winedbg.exe=d}"
export WINEPREFIX WINEDEBUG WINEDLLOVERRIDES
mkdir -p "$WINEPREFIX"

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
wine=$(find_tool /usr/lib/wine/wine64 wine64 wine)
server=$(find_tool /usr/lib/wine/wineserver64 wineserver64 wineserver)
: "${WINELOADER:=$wine}"
export WINELOADER

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
