# Used by cmake/demo.cmake and cmake/test.cmake (cmake -P): what the build needs is installed, and
# Wine has a prefix of its own. All that is downloaded or built goes below build/.
#
#   clrhm_setup(WINDOWS_TARGETS|NATIVE_TOOLS ...)  installs what is missing
#   clrhm_run(<what> COMMAND <command>...)         says what, runs it, fails with clrhm_fail
#   clrhm_start_wine() / clrhm_stop_wine()         the build's own Wine prefix and its server
#   clrhm_fail(<message>)                          ends what was started, then FATAL_ERROR
include_guard(GLOBAL)

get_filename_component(CLRHM_ROOT "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
set(CLRHM_BUILD "${CLRHM_ROOT}/build")
set(CLRHM_WINE_SERVER "")
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

# clrhm_run(<what> COMMAND <command>... [QUIET]): QUIET shows the output only when it fails.
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

# _clrhm_need(<package> <file or program that it brings>): adds to CLRHM_MISSING.
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
  # A fresh machine has no package lists, a long-lived one has old ones: try, update, try again.
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

# clrhm_setup([WINDOWS_TARGETS] [X86_TARGETS] [NATIVE_TOOLS]): on Linux installs what is missing of
#   WINDOWS_TARGETS  the MinGW-w64 compiler for x64 and Wine
#   X86_TARGETS      the MinGW-w64 compiler for x86
#   NATIVE_TOOLS     valgrind, for the instruction counts
# and always the libraries and Ninja. On Windows it only says what is not there.
function(clrhm_setup)
  cmake_parse_arguments(PARSE_ARGV 0 arg "WINDOWS_TARGETS;X86_TARGETS;NATIVE_TOOLS" "" "")
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
  if(arg_NATIVE_TOOLS)
    _clrhm_need(valgrind valgrind)
    _clrhm_need(clang-format-19 clang-format-19)
  endif()
  if(CLRHM_MISSING)
    _clrhm_apt_install(${CLRHM_MISSING})
  else()
    clrhm_say("Everything the build needs is installed")
  endif()
endfunction()

# ---- Wine --------------------------------------------------------------------------------------------

function(_clrhm_wine wine_variable server_variable)
  # Debian's wrappers in /usr/bin look for a 32-bit Wine first and warn about it.
  find_program(_wine NAMES wine64 wine HINTS /usr/lib/wine NO_CACHE)
  find_program(_server NAMES wineserver64 wineserver HINTS /usr/lib/wine NO_CACHE)
  set(${wine_variable} "${_wine}" PARENT_SCOPE)
  set(${server_variable} "${_server}" PARENT_SCOPE)
endfunction()

# A prefix of the build's own: nobody's settings are read or changed. cmake/toolchains/wine-run.sh makes it and
# starts its server; doing so once beforehand keeps parallel tests from doing it at the same time.
macro(clrhm_start_wine)
  if(NOT CMAKE_HOST_WIN32)
    foreach(name WINEDEBUG WINEDLLOVERRIDES WINELOADER)
      unset(ENV{${name}})
    endforeach()
    set(ENV{WINEPREFIX} "${CLRHM_BUILD}/wine-prefix")
    _clrhm_wine(_clrhm_wine_program CLRHM_WINE_SERVER)
    clrhm_run("Starting Wine in build/wine-prefix" QUIET COMMAND "${CLRHM_ROOT}/cmake/toolchains/wine-run.sh"
              cmd /c ver)
  endif()
endmacro()

function(clrhm_stop_wine)
  if(CLRHM_WINE_SERVER)
    # Only this prefix's server and its programs.
    execute_process(COMMAND "${CLRHM_WINE_SERVER}" -k OUTPUT_QUIET ERROR_QUIET)
  endif()
endfunction()
