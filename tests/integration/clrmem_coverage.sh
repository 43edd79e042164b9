#!/usr/bin/env bash
# clrmem_coverage.sh WINE_RUN CLRMEM.exe BUILD_FOLDER: checks how much memory coreclr.dll, clrjit.dll and clrgc.dll
# request from the OS, the C run-time and COM past the manager. The source is Wine's own trace of calls, which is
# independent of the bridge. Less than 1 % of all they commit may go past the manager, and only through the functions
# listed here.
# Exit code 0: the check holds; 1: it fails; 77: the build has no runtime to check.
set -uo pipefail
wine_run=$1 clrmem=$2 build=$3
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failures=0
fail() {
  echo "FAILED: $1"
  failures=$((failures + 1))
}

# All functions that return memory, out of those that these modules import or look up.
traced='kernel32.HeapAlloc;kernel32.HeapReAlloc;kernel32.VirtualAlloc;kernel32.VirtualAllocEx;kernel32.VirtualAllocExNuma'
traced+=';kernelbase.VirtualAlloc2;kernelbase.MapViewOfFile3;kernel32.MapViewOfFile;kernel32.MapViewOfFileEx'
traced+=';kernel32.LocalAlloc;kernel32.GlobalAlloc;kernel32.CreateThread;kernel32.FlsAlloc;kernel32.FormatMessageW'
traced+=';kernel32.GetEnvironmentStringsW;ntdll.RtlAllocateHeap;ntdll.RtlReAllocateHeap;ntdll.NtAllocateVirtualMemory'
traced+=';ucrtbase.malloc;ucrtbase.calloc;ucrtbase.realloc;ucrtbase._aligned_malloc;ucrtbase._strdup;ucrtbase._wcsdup'
traced+=';ucrtbase.fopen;ucrtbase._wfopen;ucrtbase._fdopen;ucrtbase.setvbuf;ole32.CoTaskMemAlloc;ole32.CoTaskMemRealloc'
traced+=';combase.CoTaskMemAlloc;combase.CoTaskMemRealloc;ole32.CreateStreamOnHGlobal;oleaut32.*'
# The registry value selects the functions that Wine traces. Only programs that are traced read it.
"$wine_run" reg add 'HKCU\Software\Wine\Debug' /v RelayInclude /d "$traced" /f >/dev/null || exit 2
export DOTNET_ROOT="Z:$build/dotnet"

# run RUNTIME OPTIONS PROGRAM [ARGUMENTS]: runs PROGRAM with tracing. Writes $work/trace, and $work/summary.json if
# clrmem writes a summary.
run() {
  local framework=$1 options=$2 program=$3
  shift 3
  rm -f "$work/summary.json"
  # shellcheck disable=SC2086 # options are words
  WINEDEBUG=+relay,+loaddll timeout 120 "$wine_run" "$clrmem" run $options --summary "Z:$work/summary.json" \
    "Z:$build/programs/$framework/$program/$program.dll" "$@" >"$work/out" 2>"$work/trace" </dev/null
}

# calls VERSION: prints a line "count function" for each traced function whose return address is in a module of the CLR.
calls() {
  local module sizes=
  for module in coreclr clrjit clrgc; do
    # Reads SizeOfImage, 0x50 bytes behind the PE header. The word at 0x3C holds the header's offset.
    local file=$build/dotnet/shared/Microsoft.NETCore.App/$1/$module.dll
    local header
    header=$(od -An -tu4 -j60 -N4 "$file")
    sizes+="$module.dll=$(od -An -tu4 -j$((header + 80)) -N4 "$file" | tr -d ' ');"
  done
  awk -v sizes="$sizes" '
    function number(hex,  i, value) {
      for (i = 1; i <= length(hex); ++i) value = value * 16 + index("0123456789abcdef", tolower(substr(hex, i, 1))) - 1
      return value
    }
    BEGIN {
      count = split(sizes, each, ";")
      for (i = 1; i < count; ++i) { split(each[i], pair, "="); size[pair[1]] = pair[2] }
    }
    /:loaddll:.*Loaded L"/ {
      name = $0; sub(/" at .*/, "", name); sub(/.*\\/, "", name)
      if (name in size) { at = $0; sub(/.*" at /, "", at); sub(/:.*/, "", at); begin[name] = number(at); ++modules }
    }
    /:Call [a-zA-Z0-9_.]+\(.*\) ret=/ {
      ret = $0; sub(/.* ret=/, "", ret); caller = number(ret)
      for (name in begin) {
        if (caller < begin[name] || caller >= begin[name] + size[name]) continue
        function_name = $0; sub(/^[0-9a-f]*:Call /, "", function_name); sub(/\(.*/, "", function_name)
        ++calls[function_name]
      }
    }
    END {
      if (modules < 2) print "0 coreclr.dll-and-clrjit.dll-were-not-seen"
      for (name in calls) print calls[name], name
    }' "$work/trace" | sort -k2
}

# of FUNCTION: prints how often $work/calls counts it.
of() { awk -v name="$1" '$2 == name { print $1; found = 1 } END { if (!found) print 0 }' "$work/calls"; }

# The functions that may go past the manager, with bounds on their sizes:
# - calloc: per-thread data of a thread that starts while clrgc.dll is loaded but not yet bridged; at most 1 KiB each.
# - _strdup: a name; at most 260 bytes each.
# - GetEnvironmentStringsW, whose strings are returned at once, and FlsAlloc's table entry: 32 KiB in all.
# - CreateThread: the OS commits the threads' stacks.
known='ucrtbase._strdup KERNEL32.GetEnvironmentStringsW KERNEL32.FlsAlloc KERNEL32.CreateThread oleaut32.GetErrorInfo'
known+=' ucrtbase.calloc'
check() {
  local framework=$1 version=$2
  shift 2
  if ! run "$framework" '' "$@"; then
    fail ".NET $version, $*: $(cat "$work/out")"
    return
  fi
  calls "$version" >"$work/calls"
  local charged past unknown
  charged=$(sed -n 's/.*"charged_bytes": \([0-9]*\).*/\1/p' "$work/summary.json" | head -1)
  past=$(($(of ucrtbase._strdup) * 260 + $(of ucrtbase.calloc) * 1024 + 32768))
  echo ".NET $version, $*: $charged bytes on account; past the manager at most $past, in calls of: $(tr '\n' ' ' <"$work/calls")"
  [ $((past * 100)) -lt "$charged" ] || fail "that is 1 % of it or more"
  if [ -n "${DOTNET_GCName:-}" ]; then
    grep -q ":loaddll:.*$DOTNET_GCName" "$work/trace" || fail "the trace has no $DOTNET_GCName"
  fi
  unknown=$(awk -v known=" $known " 'index(known, " " $2 " ") == 0 { print $2 }' "$work/calls")
  [ -z "$unknown" ] || fail "not expected: $unknown"
  [ "$(of KERNEL32.CreateThread)" -gt 0 ] || fail "the trace has none of the threads that every runtime starts"
}

# Shows that the trace works: without the bridge it contains the CLR's requests for memory.
check_the_trace() {
  run "$1" --no-bridge Hello || fail "Hello without the bridge: $(cat "$work/out")"
  calls "$2" >"$work/calls"
  echo ".NET $2, Hello without the bridge: $(tr '\n' ' ' <"$work/calls")"
  local least
  for least in KERNEL32.VirtualAlloc=100 ntdll.RtlAllocateHeap=1 ucrtbase.malloc=100 ucrtbase.calloc=1; do
    [ "$(of "${least%=*}")" -ge "${least#*=}" ] || fail "the trace has too few calls of ${least%=*}"
  done
}

looked_at=0
for runtime in net8.0=8.0.33 net10.0=10.0.14; do
  framework=${runtime%=*} version=${runtime#*=}
  [ -d "$build/dotnet/shared/Microsoft.NETCore.App/$version" ] && [ -d "$build/programs/$framework/Hello" ] || continue
  looked_at=$((looked_at + 1))
  check_the_trace "$framework" "$version"
  check "$framework" "$version" Hello
  DOTNET_gcServer=1 check "$framework" "$version" Churn 64
  DOTNET_GCName=clrgc.dll check "$framework" "$version" Churn 64
  # Freeing W^X code mappings is fatal to .NET 10 under Wine 8 under every host (see LoadAssemblies.cs).
  export DOTNET_EnableWriteXorExecute=0
  check "$framework" "$version" NativeHeavy
  check "$framework" "$version" LoadAssemblies 5
  check "$framework" "$version" WebHello 50
  unset DOTNET_EnableWriteXorExecute
done
if [ "$looked_at" -eq 0 ]; then
  echo "skipped: the build has no runtime"
  exit 77
fi
[ "$failures" -eq 0 ]
