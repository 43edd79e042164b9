#!/bin/sh
# get-wine.sh FOLDER SUITE ARCHITECTURE: lays out a Wine of Debian's packages in FOLDER, beside the machine's own Wine.
#   get-wine.sh build/wine-x86 bookworm i386    Wine 8 for x86 programs
#   get-wine.sh build/wine-10 trixie amd64      Wine 10 for x64 programs
# It needs no root and installs nothing: an apt with a state of its own downloads the packages, and dpkg unpacks them.
# Needs patchelf. The programs contain FOLDER's path, so FOLDER cannot be moved. wine-run.sh --wine FOLDER uses it.
#
# Some virtual machines and kernels run no 32-bit code. There the 32-bit Wine runs in qemu's emulation of a user's
# process, about ten times slower. Its server is a native one.
set -eu
fail() {
  echo "get-wine.sh: $*" >&2
  exit 1
}
[ $# -eq 3 ] || fail "usage: get-wine.sh FOLDER SUITE ARCHITECTURE"
suite=$2
architecture=$3
case $architecture in
  i386) bits=32 loader=wine linker=ld-linux.so.2 triple=i386-linux-gnu mingw=i686-w64-mingw32 windows=i386-windows ;;
  amd64)
    bits=64 loader=wine64 linker=ld-linux-x86-64.so.2
    triple=x86_64-linux-gnu mingw=x86_64-w64-mingw32 windows=x86_64-windows
    ;;
  *) fail "unknown architecture $architecture; use i386 or amd64" ;;
esac
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
command -v patchelf >/dev/null || fail "no patchelf: apt-get install patchelf"
# The machine's own mirror of the main archive serves every suite. Its security archive is another one.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
[ -n "$mirror" ] || fail "this machine's apt has no package source"

# Works in a folder beside FOLDER, and begins anew after a failure. A FOLDER that exists is complete.
mkdir -p "$(dirname -- "$1")"
folder=$(CDPATH= cd -- "$(dirname -- "$1")" && pwd)/$(basename -- "$1")
work=$folder.new
root=$work/root
rm -rf "$work"
mkdir -p "$root"

# unpack SUITE ARCHITECTURE FOLDER PACKAGE...: downloads packages and unpacks them in FOLDER.
unpack() {
  apt=$work/apt-$1-$2
  mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/empty" "$3"
  : >"$apt/status"
  for part in "$1" "$1-updates"; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $part main"
  done >"$apt/sources.list"
  cat >"$apt/apt.conf" <<SETTINGS
#clear APT::Architectures;
APT::Architecture "$2";
APT::Architectures { "$2"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "$apt";
Dir::State::Lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/empty";
Dir::Etc::preferencesparts "$apt/empty";
SETTINGS
  into=$3
  shift 3
  (
    export APT_CONFIG="$apt/apt.conf"
    find "$apt/lists" -name '*Packages*' | grep -q . || apt-get -qq update
    cd "$apt/archives"
    apt-get -qq download "$@"
    for package in *.deb; do dpkg -x "$package" "$into"; done
    rm -f ./*.deb
  )
}

# libfontconfig1 is not optional: with FreeType alone, Wine 8 starts explorer.exe without end.
unpack "$suite" "$architecture" "$root" "wine$bits" libwine libz-mingw-w64 libc6 libgcc-s1 zlib1g libbrotli1 libexpat1 \
  libfontconfig1 libfreetype6
case $suite in
  bookworm) unpack "$suite" "$architecture" "$root" libpng16-16 ;;
  *) unpack "$suite" "$architecture" "$root" libpng16-16t64 libunwind8 liblzma5 ;;
esac

# user32.dll needs zlib1.dll. The package's own script makes it a builtin DLL by this signature in the DOS stub.
zlib=$root/usr/lib/$triple/wine/$windows/zlib1.dll
if [ ! -f "$zlib" ]; then
  source=$root/usr/$mingw/lib/zlib1.dll
  {
    head -c 64 "$source"
    printf 'Wine builtin DLL'
    head -c 16 /dev/zero
    tail -c +97 "$source"
  } >"$zlib"
fi

# The programs find the dynamic linker and the libraries in FOLDER, not in the machine's folders.
programs=$root/usr/lib/wine
linker=$(cd "$root" && find . -name "$linker" -type f | head -n 1)
[ -n "$linker" ] || linker=$(cd "$root" && find . -name "$linker" | head -n 1)
for program in $loader wineserver$bits; do
  patchelf --set-interpreter "$folder/${linker#./}" --force-rpath \
    --set-rpath "$folder/lib/$triple:$folder/usr/lib/$triple" "$programs/$program"
done
# Wine 10 starts programs by the name wine.
[ -e "$programs/wine" ] || ln -s "$loader" "$programs/wine"
ln -sf "wineserver$bits" "$programs/wineserver"
ln -s "../$triple/wine" "$programs/dlls"

if ! "$root/$linker" --version >/dev/null 2>&1; then
  # Older emulators than trixie's take minutes to reserve address space, and then hang.
  unpack trixie amd64 "$work/emulator" qemu-user
  mv "$work/emulator/usr/bin/qemu-i386" "$programs/"
  unpack "$suite" amd64 "$work/native" wine64
  mv "$work/native/usr/lib/wine/wineserver64" "$programs/"
  ln -sf wineserver64 "$programs/wineserver"
  gcc -m32 -O1 -fPIC -shared -nostdlib -fno-stack-protector -o "$programs/emulated-traps.so" "$here/emulated-traps.c"
  # Wine starts its programs by argument 0, which therefore names this script.
  mv "$programs/wine" "$programs/wine-emulated"
  patchelf --add-needed "$folder/usr/lib/wine/emulated-traps.so" "$programs/wine-emulated"
  cat >"$programs/wine" <<'SCRIPT'
#!/bin/sh
here=$(dirname -- "$0")
# With W^X a runtime writes code through a second mapping, which the emulation does not notice. Tests read the second
# variable.
: "${DOTNET_EnableWriteXorExecute:=0}"
export DOTNET_EnableWriteXorExecute CLRHM_EMULATED=1
exec "$here/qemu-i386" -cpu max -0 "$0" "$here/wine-emulated" "$@"
SCRIPT
  chmod +x "$programs/wine"
fi

rm -rf "$root/usr/share/doc" "$folder"
mv "$root" "$folder"
rm -rf "$work"
