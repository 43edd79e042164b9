#!/usr/bin/env bash
# msvc_check_self_test.sh MSVC_CHECK.SH WORK: tests that a source that passed is not compiled again, that all others are
# compiled, and that a failure is never kept. A stand-in for check.sh records the files it should compile. The test
# replaces a scratch folder in WORK.
set -uo pipefail
script=$(realpath "${1:?MSVC_CHECK.SH}") || exit 2
[ -f "$script" ] || { echo "no $script"; exit 2; }
mkdir -p "${2:?WORK}" || exit 2
work=$(cd "$2" && pwd)/msvc-check-self-test || exit 2
rm -rf "$work"
mkdir -p "$work/project/src/tool" "$work/project/include/lib" "$work/outside" || exit 2
cd "$work" || exit 2
readonly script work project=$work/project results=$work/results

# The stand-in fails if a file, or the header a.h that it includes, has an #error. It finds GNU spellings by text, as
# the real check.sh does.
cat >"$work/check.sh" <<CHECK_SH
#!/usr/bin/env bash
verbose= once= with= code=
while [ \$# -gt 0 ]; do
  case \$1 in
    -a) target=\$2; shift;;
    -I|-X|-D) shift;;
    --ir) code=1;;
    -emit-pch) once=1;;
    *.pch) pch=\$1;;
    -include-pch) with=" with standard headers";;
    *.cpp) file=\$1;;
    /clang:-v) verbose=1;;
  esac
  shift
done
[ ! -f "$work/no-setup" ] || { echo "no setup"; exit 2; }
if [ -n "\$verbose" ]; then
  printf '%s\n' "clang version 1" "#include <...> search starts here:" " $work/outside" "End of search list."
elif [ -n "\$once" ]; then
  [ -z "\$code" ] || { echo "clang writes code instead"; exit 1; }
  echo headers >"\$pch"
else
  [ -z "\$with" ] || [ -s "\$pch" ] || exit 1
  echo "\$target \$(basename "\$file")\$with" >>"$work/compiled"
fi
grep -rnH __builtin_ "\$file" "$project/include"
if grep -q '#error' "\$file" ||
   { grep -q '"tool/a.h"' "\$file" && grep -q '#error' "$project/src/tool/a.h"; }; then
  echo "\$file(1,1): error: as it says"
  exit 1
fi
exit 0
CHECK_SH

echo '#define OUTSIDE 1' >"$work/outside/outside.h"
echo '#define B 1' >"$project/src/tool/b.h"
echo '#include "tool/b.h"' >"$project/src/tool/a.h"
echo '#include "tool/a.h"' >"$project/src/one.cpp"
echo '#include "tool/b.h"' >"$project/src/two.cpp"
echo 'int three;' >"$project/src/three.cpp"
echo '#define PUBLIC 1' >"$project/include/lib/public.h"

failed=0
says=.
# expect WHAT RESULT COMPILED...: runs the check. The check must exit with RESULT, compile exactly these files for each
# target, and print a line that matches $says.
expect() {
  local what=$1 result=$2 got compiled wanted
  shift 2
  rm -f "$work/compiled"
  bash "$script" "$work/check.sh" "$project" "$results" 2 >"$work/output" 2>&1
  got=$?
  compiled=$(sort "$work/compiled" 2>/dev/null | tr '\n' ';')
  wanted=$(for file in "$@"; do
    printf '%s\n' "x64 $file" "x86 $file with standard headers" "arm64 $file with standard headers"
  done | sort | tr '\n' ';')
  if [ "$got" != "$result" ] || [ "$compiled" != "$wanted" ] || ! grep -qE "$says" "$work/output"; then
    echo "FAILED: $what: exit $got for $result; compiled '$compiled' for '$wanted'; output:"
    cat "$work/output"
    failed=1
  else
    echo "ok: $what"
  fi
}

all=(one.cpp two.cpp three.cpp lib_public_h.cpp)
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
mkdir "$project/src/other"
echo '#define OTHER_A 1' >"$project/src/other/a.h"
expect "a new file that an include could mean counts" 0 one.cpp
rm -r "$project/src/other"
expect "what was known before is known again" 0
echo '#define OUTSIDE 2' >"$work/outside/outside.h"
expect "a header from outside counts for all" 0 "${all[@]}"
echo '# changed' >>"$work/check.sh"
expect "and so does the check itself" 0 "${all[@]}"

echo '#error' >>"$project/src/tool/a.h"
says='src/one.cpp\(1,1\): error: as it says'
expect "a failure is reported" 1 one.cpp
expect "and reported again, since it is not kept" 1 one.cpp
says=.
sed -i '/#error/d' "$project/src/tool/a.h"
expect "until it is mended, which is known from before" 0

for kept in "$work/results"/*; do : >"$kept"; done
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
expect "also when nothing is compiled" 1
sed -i '/__builtin_header/d' "$project/include/lib/public.h"

touch "$work/no-setup"
says='skipped: the check could not be set up'
expect "without the tools it is skipped" 77
exit $failed
