#!/bin/sh
# wine-run.sh PROGRAM.exe [ARGS...]: runs a Windows program with Wine in the build's own prefix.
# CMake and ctest call it for every program built with the MinGW toolchain.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
: "${WINEPREFIX:=$here/../../build/wine-prefix}"
: "${WINEDEBUG:=-all}"
# No offer of a browser engine, and no debugger's report when a program is meant to crash. Never
# mscoree: without it no managed assembly loads.
: "${WINEDLLOVERRIDES:=mshtml=;winedbg.exe=d}"
export WINEPREFIX WINEDEBUG WINEDLLOVERRIDES
mkdir -p "$WINEPREFIX"

# Debian's wrappers in /usr/bin look for a 32-bit Wine and warn about it: prefer the 64-bit programs
# themselves.
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

# A server that stays a minute after the last program makes the next start 0.1 s instead of 2.5 s.
# It fails, in a millisecond, when one is running. The first program starts Wine's services, which
# inherit its output and outlive it: that must not be the caller's, who may be waiting for its end.
# Nor that of another caller who comes meanwhile, which waits here until they are there. What is
# started must not inherit the lock.
(
  flock 9
  if "$server" -p60 </dev/null >/dev/null 2>&1 9>&-; then
    "$wine" wineboot -i </dev/null >/dev/null 2>&1 9>&- || true
  fi
) 9>"$WINEPREFIX/clrhm-start.lock"
exec "$wine" "$@"
