# Functions for the scripts in cmake/ (cmake -P): they install what the build needs and give Wine its own prefix. All
# downloads and build results go below build/.
#
#   clrhm_setup(WINDOWS_TARGETS|NATIVE_TOOLS ...)  installs missing packages
#   clrhm_run(<what> COMMAND <command>...)         prints <what> and runs the command; on failure calls clrhm_fail
#   clrhm_start_wine() / clrhm_stop_wine()         start and stop Wine's servers for the build's own prefixes
#   clrhm_fail(<message>)                          stops those servers, then raises FATAL_ERROR
include_guard(GLOBAL)

get_filename_component(CLRHM_ROOT "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
set(CLRHM_BUILD "${CLRHM_ROOT}/build")
set(CLRHM_WINE_SERVERS "")
cmake_host_system_information(RESULT CLRHM_CORES QUERY NUMBER_OF_LOGICAL_CORES)

function(clrhm_say)
  string(JOIN "" text ${ARGV})
  message("==> ${text}")
endfunction()

function(clrhm_fail)
  string(JOIN "" text ${ARGV})
  clrhm_stop_wine()
  message(FATAL_ERROR "${text}")
endfunction()

# clrhm_run(<what> COMMAND <command>... [QUIET]): QUIET shows the output only if the command fails.
function(clrhm_run what)
  cmake_parse_arguments(PARSE_ARGV 1 arg "QUIET" "" "COMMAND")
  clrhm_say("${what}")
  if(arg_QUIET)
    execute_process(COMMAND ${arg_COMMAND} WORKING_DIRECTORY "${CLRHM_ROOT}" RESULT_VARIABLE result
                    OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(NOT result EQUAL 0)
      message("${output}")
    endif()
  else()
    execute_process(COMMAND ${arg_COMMAND} WORKING_DIRECTORY "${CLRHM_ROOT}" RESULT_VARIABLE result)
  endif()
  if(NOT result EQUAL 0)
    list(JOIN arg_COMMAND " " command)
    clrhm_fail("${what}: failed (${result}): ${command}")
  endif()
endfunction()

# ---- packages ----------------------------------------------------------------------------------------

# _clrhm_need(<package> <file or program of the package>): adds the package to CLRHM_MISSING if the file or program is
# missing.
function(_clrhm_need package what)
  if(IS_ABSOLUTE "${what}")
    if(EXISTS "${what}")
      return()
    endif()
  else()
    find_program(_clrhm_found NAMES "${what}" NO_CACHE)
    if(_clrhm_found)
      return()
    endif()
  endif()
  set(CLRHM_MISSING ${CLRHM_MISSING} ${package} PARENT_SCOPE)
endfunction()

function(_clrhm_apt_install)
  find_program(apt apt-get NO_CACHE)
  list(JOIN ARGV " " packages)
  if(NOT apt)
    clrhm_fail("These are missing (Debian's names): ${packages}\n"
               "There is no apt-get here: install them with this system's own package manager.")
  endif()
  set(as_root)
  execute_process(COMMAND id -u OUTPUT_VARIABLE user OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT user STREQUAL "0")
    find_program(sudo sudo NO_CACHE)
    if(NOT sudo)
      clrhm_fail("These are missing: ${packages}\nInstall them as root: apt-get install ${packages}")
    endif()
    set(as_root "${sudo}")
  endif()
  clrhm_say("Installing with apt-get: ${packages}")
  set(install ${as_root} env DEBIAN_FRONTEND=noninteractive "${apt}" install -q -y
              --no-install-recommends ${ARGV})
  # A fresh machine has no package lists, and a long-lived machine has old ones. So the installation is tried again
  # after an update.
  execute_process(COMMAND ${install} RESULT_VARIABLE result OUTPUT_VARIABLE output
                  ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    execute_process(COMMAND ${as_root} "${apt}" update -q OUTPUT_VARIABLE output
                    ERROR_VARIABLE output)
    execute_process(COMMAND ${install} RESULT_VARIABLE result OUTPUT_VARIABLE output
                    ERROR_VARIABLE output)
    if(NOT result EQUAL 0)
      message("${output}")
      clrhm_fail("apt-get could not install: ${packages}")
    endif()
  endif()
endfunction()

# clrhm_setup([WINDOWS_TARGETS] [X86_TARGETS] [WINE_10] [NATIVE_TOOLS]): on Linux installs the missing packages for
#   WINDOWS_TARGETS  the MinGW-w64 compiler for x64 and Wine
#   X86_TARGETS      the MinGW-w64 compiler for x86, and a 32-bit Wine in build/wine-x86
#   WINE_10          a Wine 10 in build/wine-10
#   NATIVE_TOOLS     valgrind, for the instruction counts, and the linters that are Debian packages
# and in any case a C++ compiler, ccache, Ninja and the libraries. On Windows it installs nothing and fails if dotnet or
# git is missing. If a Wine cannot be laid out in build, says why; the tests that need it are then skipped.
function(clrhm_setup)
  cmake_parse_arguments(PARSE_ARGV 0 arg "WINDOWS_TARGETS;X86_TARGETS;WINE_10;NATIVE_TOOLS" "" "")
  find_program(dotnet dotnet NO_CACHE)
  if(CMAKE_HOST_WIN32)
    if(NOT dotnet)
      clrhm_fail("No `dotnet` in PATH: install the .NET SDK 10 (it builds the sample programs).")
    endif()
    find_program(git git NO_CACHE)
    if(NOT git)
      clrhm_fail("No `git` in PATH: it fetches GSL, GoogleTest, CLI11 and nlohmann-json.")
    endif()
    return()
  endif()

  set(CLRHM_MISSING)
  _clrhm_need(ninja-build ninja)
  _clrhm_need(ccache ccache)
  _clrhm_need(g++ g++)
  _clrhm_need(libmsgsl-dev /usr/include/gsl/gsl)
  _clrhm_need(nlohmann-json3-dev /usr/include/nlohmann/json.hpp)
  _clrhm_need(googletest /usr/src/googletest/CMakeLists.txt)
  if(arg_WINDOWS_TARGETS)
    _clrhm_need(pkg-config pkg-config)
    _clrhm_need(libcli11-dev /usr/include/CLI/CLI.hpp)
    _clrhm_need(g++-mingw-w64-x86-64-posix x86_64-w64-mingw32-g++-posix)
    _clrhm_wine(wine server)
    if(NOT wine OR NOT server)
      list(APPEND CLRHM_MISSING wine64 wine)
    endif()
  endif()
  if(arg_X86_TARGETS)
    _clrhm_need(g++-mingw-w64-i686-posix i686-w64-mingw32-g++-posix)
  endif()
  if(arg_X86_TARGETS OR arg_WINE_10)
    _clrhm_need(patchelf patchelf)
  endif()
  if(arg_NATIVE_TOOLS)
    _clrhm_need(valgrind valgrind)
    _clrhm_need(clang-format-19 clang-format-19)
    _clrhm_need(shellcheck shellcheck)
  endif()
  if(CLRHM_MISSING)
    _clrhm_apt_install(${CLRHM_MISSING})
  else()
    clrhm_say("Everything the build needs is installed")
  endif()
  if(arg_X86_TARGETS)
    _clrhm_lay_out_wine(wine-x86 bookworm i386 "a 32-bit Wine")
  endif()
  if(arg_WINE_10)
    _clrhm_lay_out_wine(wine-10 trixie amd64 "Wine 10")
  endif()
endfunction()

# ---- Wine --------------------------------------------------------------------------------------------

function(_clrhm_wine wine_variable server_variable)
  # Debian's wrappers in /usr/bin look for a 32-bit Wine first and print a warning. So the programs themselves are used.
  find_program(_wine NAMES wine64 wine HINTS /usr/lib/wine NO_CACHE)
  find_program(_server NAMES wineserver64 wineserver HINTS /usr/lib/wine NO_CACHE)
  set(${wine_variable} "${_wine}" PARENT_SCOPE)
  set(${server_variable} "${_server}" PARENT_SCOPE)
endfunction()

# _clrhm_lay_out_wine(<folder in build> <Debian suite> <architecture> <what>)
function(_clrhm_lay_out_wine folder suite architecture what)
  if(EXISTS "${CLRHM_BUILD}/${folder}")
    return()
  endif()
  clrhm_say("Laying out ${what} in build/${folder}")
  execute_process(COMMAND "${CLRHM_ROOT}/cmake/toolchains/get-wine.sh" "${CLRHM_BUILD}/${folder}" ${suite} ${architecture}
                  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message("${output}")
    clrhm_say("There is no ${what}: get-wine.sh failed as shown above, and the tests that need it are skipped")
  endif()
endfunction()

# Starts every Wine that there is, each in a prefix of the build, so the user's settings are neither read nor changed.
# cmake/toolchains/wine-run.sh creates the prefix and starts its server. Doing so once in advance keeps parallel tests
# from doing it at the same time.
macro(clrhm_start_wine)
  if(NOT CMAKE_HOST_WIN32)
    foreach(name WINEDEBUG WINEDLLOVERRIDES WINELOADER WINESERVER WINEDLLPATH WINEARCH)
      unset(ENV{${name}})
    endforeach()
    set(ENV{WINEPREFIX} "${CLRHM_BUILD}/wine-prefix")
    _clrhm_wine(_clrhm_wine_program _clrhm_wine_server)
    set(CLRHM_WINE_SERVERS "${CLRHM_BUILD}/wine-prefix|${_clrhm_wine_server}")
    set(_clrhm_wine_run "${CLRHM_ROOT}/cmake/toolchains/wine-run.sh")
    clrhm_run("Starting Wine in build/wine-prefix" QUIET COMMAND "${_clrhm_wine_run}" cmd /c ver)
    foreach(name wine-x86 wine-10)
      if(EXISTS "${CLRHM_BUILD}/${name}")
        list(APPEND CLRHM_WINE_SERVERS "${CLRHM_BUILD}/${name}-prefix|${CLRHM_BUILD}/${name}/usr/lib/wine/wineserver")
        clrhm_say("Starting Wine in build/${name}-prefix")
        execute_process(COMMAND "${_clrhm_wine_run}" --wine "${CLRHM_BUILD}/${name}" cmd /c ver TIMEOUT 300
                        RESULT_VARIABLE _clrhm_result OUTPUT_VARIABLE _clrhm_output ERROR_VARIABLE _clrhm_output)
        if(NOT _clrhm_result EQUAL 0)
          message("${_clrhm_output}")
          clrhm_say("That Wine does not start (${_clrhm_result}), so the tests that need it are skipped")
          file(REMOVE_RECURSE "${CLRHM_BUILD}/${name}.broken")
          file(RENAME "${CLRHM_BUILD}/${name}" "${CLRHM_BUILD}/${name}.broken")
        endif()
      endif()
    endforeach()
  endif()
endmacro()

function(clrhm_stop_wine)
  foreach(entry IN LISTS CLRHM_WINE_SERVERS)
    string(REPLACE "|" ";" entry "${entry}")
    list(POP_FRONT entry prefix)
    # This ends only this prefix's server and its programs.
    execute_process(COMMAND "${CMAKE_COMMAND}" -E env "WINEPREFIX=${prefix}" "${entry}" -k OUTPUT_QUIET ERROR_QUIET)
  endforeach()
endfunction()
