#!/usr/bin/env bash
# msvc_check_self_test.sh MSVC_CHECK.SH WORK: tests what msvc_check.sh compiles for which target, and what it finds in the
# text. A source that passed must not be compiled again, and a failure must never be kept. A stand-in for msvc/tools.sh
# records the files it should compile. The test replaces a scratch folder in WORK.
set -uo pipefail
script=$(realpath "${1:?MSVC_CHECK.SH}") || exit 2
[ -f "$script" ] || { echo "no $script"; exit 2; }
mkdir -p "${2:?WORK}" || exit 2
work=$(cd "$2" && pwd)/msvc-check-self-test || exit 2
rm -rf "$work"
mkdir -p "$work/project/src/tool" "$work/project/include/lib" "$work/project/tests" "$work/project/examples" "$work/outside" || exit 2
cd "$work" || exit 2
readonly script work project=$work/project folder=$work/folder

# The stand-in fails if a file, or the header a.h that it includes, has an #error. For a file with __try it writes the
# code of a function that Visual C++ refuses.
cat >"$work/tools.sh" <<TOOLS_SH
msvc_setup() { [ ! -f "$work/no-setup" ] || { echo "no setup"; return 1; }; }
msvc_identity() { cat "$work/tools.sh" "$work/outside/outside.h"; }
msvc_precompile() { echo "\$1 \$(basename "\$2" .cpp)" >"\$3"; }
msvc_compile() {
  local with=alone
  [ -z "\$3" ] || with=\$(cat "\$3") || return 1
  echo "\$1 \$(basename "\$2") \$with" >>"$work/compiled"
  if [ -n "\$4" ] && grep -q __try "\$2"; then
    printf '%s\n' 'define void @"?f@@YAXXZ"() personality ptr @__C_specific_handler {' \
      ' call void @"??1Guard@@QEAA@XZ"(ptr %g) [ "funclet"(token %1) ]' >"\$4"
  fi
  if grep -q '#error' "\$2" ||
     { grep -q '"tool/a.h"' "\$2" && grep -q '#error' "$project/src/tool/a.h"; }; then
    echo "\$2(1,1): error: as it says"
    return 1
  fi
}
TOOLS_SH

echo '#define OUTSIDE 1' >"$work/outside/outside.h"
printf '#include <windows.h>\n#define B 1\n' >"$project/src/tool/b.h"
echo '#include "tool/b.h"' >"$project/src/tool/a.h"
echo '#include "tool/a.h"' >"$project/src/one.cpp"
printf '#include "tool/b.h"\n#ifdef _M_ARM64\n#endif\n' >"$project/src/two.cpp"
echo 'int three;' >"$project/src/three.cpp"
echo '#include <objbase.h>' >"$project/include/lib/public.h"
echo '#include <windows.h>' >"$project/tests/four.cpp"

# lines NAME...: the stand-in's lines for these files. three.cpp has no Windows header, so it is compiled for x64 only.
# two.cpp depends on the processor.
lines() {
  local name
  for name in "$@"; do
    case $name in
      three.cpp) echo "x64 three.cpp x64 library" ;;
      four.cpp) echo "x64 four.cpp x64 tests" ;;
      lib_public_h.cpp) printf '%s\n' "x64 $name alone" "x86 $name x86 library" "arm64 $name arm64 library" ;;
      two.cpp) printf '%s\n' "x64 $name x64 library" "x86 $name x86 library" "arm64 $name arm64 library" ;;
      *) printf '%s\n' "x64 $name x64 library" "x86 $name x86 library" ;;
    esac
  done
}

failed=0
says=.
# expect WHAT RESULT COMPILED...: runs the check. The check must exit with RESULT, compile exactly these files for their
# targets, and print a line that matches $says.
expect() {
  local what=$1 result=$2 got compiled wanted
  shift 2
  rm -f "$work/compiled"
  bash "$script" --tests "$work/tools.sh" "$project" "$folder" 2 >"$work/output" 2>&1
  got=$?
  compiled=$(sort "$work/compiled" 2>/dev/null | tr '\n' ';')
  wanted=$(lines "$@" | sort | tr '\n' ';')
  if [ "$got" != "$result" ] || [ "$compiled" != "$wanted" ] || ! grep -qE "$says" "$work/output"; then
    echo "FAILED: $what: exit $got for $result; compiled '$compiled' for '$wanted'; output:"
    cat "$work/output"
    failed=1
  else
    echo "ok: $what"
  fi
}

all=(one.cpp two.cpp three.cpp four.cpp lib_public_h.cpp)
expect "the first run compiles everything" 0 "${all[@]}"
expect "the second run compiles nothing" 0
echo '// changed' >>"$project/src/three.cpp"
expect "a source that has changed is compiled" 0 three.cpp
echo '// changed' >>"$project/src/tool/b.h"
expect "and so is each that includes a header that has changed, through others, too" 0 one.cpp two.cpp
touch "$project/src/three.cpp" "$project/src/tool/b.h"
expect "a time is no change" 0
echo '// changed' >>"$project/include/lib/public.h"
expect "a public header is compiled by itself" 0 lib_public_h.cpp
echo '// changed' >>"$project/tests/four.cpp"
expect "a test is compiled for x64" 0 four.cpp
mkdir "$project/src/other"
echo '#define OTHER_A 1' >"$project/src/other/a.h"
expect "a new file that an include could mean counts" 0 one.cpp
rm -r "$project/src/other"
expect "what was known before is known again" 0
echo '#define OUTSIDE 2' >"$work/outside/outside.h"
expect "a header from outside counts for all" 0 "${all[@]}"
echo '# changed' >>"$work/tools.sh"
expect "and so do the tools" 0 "${all[@]}"

echo '#error' >>"$project/src/tool/a.h"
says='src/one.cpp\(1,1\): error: as it says'
expect "a failure is reported" 1 one.cpp
expect "and reported again, since it is not kept" 1 one.cpp
says=.
sed -i '/#error/d' "$project/src/tool/a.h"
expect "until it is mended, which is known from before" 0

for kept in "$folder/results"/*; do : >"$kept"; done
expect "results that are not whole are not trusted" 0 "${all[@]}"

echo 'int four = __builtin_four();' >>"$project/src/three.cpp"
says='src/three.cpp:[0-9]*: a GNU spelling'
expect "a GNU spelling is found" 1 three.cpp
expect "and found again in a source that need not be compiled" 1
sed -i 's/^int four/#if GNU\n&/' "$project/src/three.cpp"
says=.
expect "behind an #if it is all right" 0 three.cpp
echo '__builtin_header' >>"$project/include/lib/public.h"
says='public.h:[0-9]*: a GNU spelling'
expect "it is found in headers" 1 lib_public_h.cpp
sed -i '/__builtin_header/d' "$project/include/lib/public.h"

echo 'std::vector<std::string> names;' >>"$project/src/three.cpp"
says='src/three.cpp:[0-9]*: std::string needs #include <string>'
expect "a name of the standard library whose header is not included is found" 1 three.cpp
echo '#include <string>' >"$project/src/tool/names.h"
sed -i '1i #include <vector>\n#include "tool/names.h"\n// std::map "std::set"' "$project/src/three.cpp"
says=.
expect "a header of the project may include it; comments and strings do not count" 0 three.cpp

echo 'void f() { __try { } __except (1) { } }' >>"$project/src/three.cpp"
says='error C2712: __try in a function that requires object unwinding'
expect "__try beside an object with a destructor is found" 1 three.cpp
sed -i '/__try/d' "$project/src/three.cpp"
says=.
expect "and a function without __try is not" 0

touch "$work/no-setup"
says='skipped: the check could not be set up'
expect "without the tools it is skipped" 77
exit $failed
