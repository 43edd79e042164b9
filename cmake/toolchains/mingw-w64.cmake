# MinGW-w64 with POSIX threads on Linux, for x86_64 (default) or i686 (CLRHM_MINGW_ARCH). Programs run under Wine:
# x86_64 under the machine's, i686 under the one in build/wine-x86.
set(CLRHM_MINGW_ARCH "x86_64" CACHE STRING "x86_64 or i686")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES CLRHM_MINGW_ARCH)

set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_VERSION 10.0)
set(CMAKE_SYSTEM_PROCESSOR ${CLRHM_MINGW_ARCH})
set(_triple ${CLRHM_MINGW_ARCH}-w64-mingw32)

# Debian's compilers with POSIX threads have the suffix -posix. On other systems the plain names have POSIX threads.
find_program(CLRHM_MINGW_GCC NAMES ${_triple}-gcc-posix ${_triple}-gcc REQUIRED)
find_program(CLRHM_MINGW_GXX NAMES ${_triple}-g++-posix ${_triple}-g++ REQUIRED)
mark_as_advanced(CLRHM_MINGW_GCC CLRHM_MINGW_GXX)
set(CMAKE_C_COMPILER "${CLRHM_MINGW_GCC}")
set(CMAKE_CXX_COMPILER "${CLRHM_MINGW_GXX}")
set(CMAKE_RC_COMPILER ${_triple}-windres)

set(CMAKE_FIND_ROOT_PATH /usr/${_triple})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# Links statically: otherwise a program needs libstdc++-6.dll beside it and fails on other machines.
foreach(kind EXE SHARED MODULE)
  set(CMAKE_${kind}_LINKER_FLAGS_INIT "-static")
endforeach()

set(CMAKE_CROSSCOMPILING_EMULATOR "${CMAKE_CURRENT_LIST_DIR}/wine-run.sh")
if(CLRHM_MINGW_ARCH STREQUAL "i686")
  get_filename_component(_wine "${CMAKE_CURRENT_LIST_DIR}/../../build/wine-x86" ABSOLUTE)
  list(APPEND CMAKE_CROSSCOMPILING_EMULATOR --wine "${_wine}")
endif()
