# shellcheck shell=bash
#
# The compiler of msvc_check.sh: clang in the dialect and ABI of Visual C++. It has the Windows SDK's headers (a NuGet
# package), libc++ and stand-ins for the headers of Visual C++'s run-time (vcruntime/). Sourced by msvc_check.sh, which
# is in the project's folder.
#
#   msvc_setup FOLDER            installs what is missing; FOLDER keeps it. On failure, prints the reason and returns 1.
#   msvc_identity                prints what the results depend on, in addition to the project's files
#   msvc_precompile TARGET FILE OUTPUT            writes a precompiled header for msvc_compile
#   msvc_compile TARGET FILE PRECOMPILED OUTPUT   compiles FILE, all warnings as errors. PRECOMPILED may be empty. If
#       OUTPUT is not empty, code is generated, too, and OUTPUT gets it as LLVM's text. msvc_includes has more options.
#
# Debian's package of libc++ conflicts with those of other versions. So it is unpacked in FOLDER instead of installed.

msvc_llvm=22
msvc_includes=()
msvc_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

_msvc_apt() { # COMMAND ARGUMENT...: runs apt-get as root. Waits while another apt-get runs.
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

_msvc_install() { # PACKAGE...: tries again after an update of the lists of packages
  _msvc_apt install --no-install-recommends "$@" >"$msvc_cache/apt.log" 2>&1 && return
  _msvc_apt update >"$msvc_cache/apt.log" 2>&1
  _msvc_apt install --no-install-recommends "$@" >>"$msvc_cache/apt.log" 2>&1 && return
  tail -n 5 "$msvc_cache/apt.log"
  echo "apt-get could not install $*"
  return 1
}

_msvc_libcxx() { # unpacks libc++'s headers
  msvc_libcxx=$msvc_cache/libcxx-$msvc_llvm/usr/lib/llvm-$msvc_llvm/include/c++/v1
  [ ! -f "$msvc_libcxx/__config_site" ] || return 0
  local unpacked
  unpacked=$(mktemp -d "$msvc_cache/unpacked.XXXXXX") || return 1
  if ! (cd "$unpacked" && apt-get -q download "libc++-$msvc_llvm-dev" && dpkg-deb -x ./*.deb . && rm ./*.deb) \
    >"$msvc_cache/apt.log" 2>&1; then
    tail -n 5 "$msvc_cache/apt.log"
    echo "apt-get could not download libc++-$msvc_llvm-dev"
    return 1
  fi
  rm -rf "$msvc_cache/libcxx-$msvc_llvm"
  mv "$unpacked" "$msvc_cache/libcxx-$msvc_llvm"
}

_msvc_sdk() { # restores the SDK's headers
  local project=$msvc_folder/WindowsSdk.proj version
  version=$(sed -n 's/.*Microsoft\.Windows\.SDK\.CPP" Version="\[\(.*\)\]".*/\1/p' "$project")
  msvc_sdk=${NUGET_PACKAGES:-$HOME/.nuget/packages}/microsoft.windows.sdk.cpp/$version/c/Include/${version%.*}.0
  [ ! -f "$msvc_sdk/um/Windows.h" ] || return 0
  command -v dotnet >/dev/null || { echo "no dotnet, which restores the Windows SDK's headers"; return 1; }
  # The copy keeps the restore's own files out of the tree.
  mkdir -p "$msvc_cache/sdk" && cp "$project" "$msvc_cache/sdk/WindowsSdk.csproj" || return 1
  if ! dotnet restore -nologo -v quiet -nodeReuse:false "$msvc_cache/sdk/WindowsSdk.csproj" \
    >"$msvc_cache/restore.log" 2>&1 || [ ! -f "$msvc_sdk/um/Windows.h" ]; then
    tail -n 5 "$msvc_cache/restore.log"
    echo "dotnet could not restore Microsoft.Windows.SDK.CPP $version"
    return 1
  fi
}

# The SDK's headers name each other in upper and lower case as on Windows. This tells clang to find the files of the
# SDK's folders in any case.
_msvc_overlay() {
  msvc_overlay=$msvc_cache/sdk-$(printf %s "$msvc_sdk" | cksum | cut -d ' ' -f 1).yaml
  [ ! -s "$msvc_overlay" ] || return 0
  {
    printf '{"version": 0, "case-sensitive": false, "overlay-relative": false, "roots": ['
    find "$msvc_sdk/ucrt" "$msvc_sdk/shared" "$msvc_sdk/um" "$msvc_sdk/winrt" -type f | LC_ALL=C sort | awk '
      {
        folder = $0; sub(/\/[^\/]*$/, "", folder); name = substr($0, length(folder) + 2)
        if (folder != last) {
          printf "%s\n{\"name\": \"%s\", \"type\": \"directory\", \"contents\": [", last == "" ? "" : "]},", folder
          last = folder
          comma = ""
        }
        printf "%s\n{\"name\": \"%s\", \"type\": \"file\", \"external-contents\": \"%s\"}", comma, name, $0
        comma = ","
      }
      END { printf "]}" }'
    printf ']}\n'
  } >"$msvc_overlay.$$" && mv "$msvc_overlay.$$" "$msvc_overlay"
}

msvc_setup() {
  msvc_cache=$1
  mkdir -p "$msvc_cache" || return 1
  msvc_clang=clang-cl-$msvc_llvm
  local missing=() library header
  command -v "$msvc_clang" >/dev/null || missing+=("clang-$msvc_llvm")
  [ -f /usr/include/gsl/gsl ] || missing+=(libmsgsl-dev)
  [ -f /usr/include/CLI/CLI.hpp ] || missing+=(libcli11-dev)
  [ -f /usr/include/nlohmann/json.hpp ] || missing+=(nlohmann-json3-dev)
  [ -f /usr/src/googletest/CMakeLists.txt ] || missing+=(googletest)
  [ -f /usr/share/mingw-w64/include/mscoree.h ] || missing+=(mingw-w64-common)
  [ ${#missing[@]} = 0 ] || _msvc_install "${missing[@]}" || return 1
  _msvc_libcxx && _msvc_sdk && _msvc_overlay || return 1

  # Only the libraries' own folders are added. All of /usr/include would hide the Windows SDK's headers.
  msvc_libraries=$msvc_cache/libraries
  mkdir -p "$msvc_libraries" || return 1
  for library in gsl CLI nlohmann; do ln -sfn "/usr/include/$library" "$msvc_libraries/$library"; done
  # The SDK's mscoree.h is in another package (.NET Framework SDK). MinGW's is used instead.
  for header in mscoree.h cor.h corhdr.h corerror.h; do
    ln -sfn "/usr/share/mingw-w64/include/$header" "$msvc_libraries/$header"
  done

  unset CL _CL_  # the identity would not cover options from the environment
  local googletest=/usr/src/googletest/googletest/include googlemock=/usr/src/googletest/googlemock/include
  msvc_options=(
    -fmsc-version=1944  # Visual Studio 2022, 17.14
    /X "/clang:-isystem$msvc_libcxx" "-imsvc$("$msvc_clang" -print-resource-dir)/include" "-imsvc$msvc_folder/vcruntime"
    "-imsvc$msvc_sdk/ucrt" "-imsvc$msvc_sdk/shared" "-imsvc$msvc_sdk/um" "-imsvc$msvc_sdk/winrt"
    "-imsvc$msvc_libraries"
    "-imsvc$googletest" "-imsvc$googlemock"
    -Xclang -ivfsoverlay -Xclang "$msvc_overlay"
    /permissive- /Zc:__cplusplus /Zc:inline /EHsc /GR /MD /W4 /WX
    # As cmake/modules/Platform.cmake has them.
    /DWIN32_LEAN_AND_MEAN /DNOMINMAX /DUNICODE /D_UNICODE /D_WIN32_WINNT=0x0A00 /DWINVER=0x0A00
    /D_CRT_SECURE_NO_WARNINGS
    # Visual C++ takes a COM method (STDMETHOD) as one that may throw. WINBOOL is MinGW's name in mscoree.h.
    /DCOM_STDMETHOD_CAN_THROW /DWINBOOL=BOOL
    # libc++ defines the exception classes itself, and its headers include only what they need.
    /D_LIBCPP_NO_VCRUNTIME /D_LIBCPP_REMOVE_TRANSITIVE_INCLUDES
    # Visual C++ refuses what clang takes as an extension:
    -Werror=gnu -Werror=microsoft -Werror=vla-extension -Werror=c99-extensions -Werror=c99-designator
    -Werror=reorder-init-list -Werror=c++23-extensions -Werror=c++26-extensions -Werror=writable-strings
    -Werror=return-type -Werror=format
    # Visual C++ warns at /W4 where clang's /W4 does not (C4244, C4267, C4456 to C4459, C4389):
    -Wshorten-64-to-32 -Wimplicit-int-conversion -Wfloat-conversion -Wshadow-all -Wsign-compare -Wunreachable-code
    # Visual C++ does not warn about these:
    -Wno-nonportable-include-path -Wno-nonportable-system-include-path -Wno-missing-designated-field-initializers
    -Wno-missing-field-initializers -Wno-gnu-zero-variadic-macro-arguments -Wno-gnu-anonymous-struct
    -Wno-unused-command-line-argument -fno-color-diagnostics)
}

msvc_identity() {
  cat "$msvc_folder/tools.sh" "$msvc_folder/WindowsSdk.proj" "$msvc_folder"/vcruntime/*.h
  "$msvc_clang" --version
  printf '%s\n' "$msvc_sdk"
  (cd /usr && find -L "$msvc_libraries"/ "$msvc_libcxx" src/googletest -type f -name '*' -print0 | LC_ALL=C sort -z |
    xargs -0 -r sha256sum)
}

_msvc_target() { # TARGET: prints clang's name for it
  case $1 in
    x64) echo x86_64-pc-windows-msvc ;;
    x86) echo i686-pc-windows-msvc ;;
    arm64) echo aarch64-pc-windows-msvc ;;
  esac
}

# The templates that the headers use are instantiated once, in the precompiled header. Without the option each source
# would do it, which takes longer than all else. The headers do not change meanwhile, so no file is compared.
_msvc_with_templates=(-Xclang -fpch-instantiate-templates -Xclang -fno-validate-pch)

msvc_precompile() {
  "$msvc_clang" "--target=$(_msvc_target "$1")" "${msvc_options[@]}" /std:c++20 /Zs "${_msvc_with_templates[@]}" \
    -Xclang -emit-pch -Xclang -o -Xclang "$3" "$2" 2>&1
}

msvc_compile() {
  local target=$1 file=$2 precompiled=$3 output=$4 mode=(/Zs) dialect=(/std:c++20)
  case $file in *.c) dialect=(/std:c11) precompiled= ;; esac
  [ -z "$precompiled" ] || mode+=("${_msvc_with_templates[@]}" -Xclang -include-pch -Xclang "$precompiled")
  [ -z "$output" ] || mode=(/c /Od /clang:-S -Xclang -emit-llvm "/Fa$output" "${mode[@]:1}")
  "$msvc_clang" "--target=$(_msvc_target "$target")" "${msvc_options[@]}" "${dialect[@]}" "${mode[@]}" \
    /Iinclude /Isrc "${msvc_includes[@]}" "$file" 2>&1
}
