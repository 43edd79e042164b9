# Third-party libraries: Microsoft.GSL::GSL, CLI11::CLI11, nlohmann_json::nlohmann_json, and
# GTest::gtest_main and GTest::gmock for the tests. Each comes from the first available of these sources:
#   1. a CMake package (vcpkg on Windows, the distribution on Linux);
#   2. when cross-compiling, the headers and sources that Debian's packages install;
#   3. the release, fetched from the project's repository.
include(FetchContent)
# CMake 4 refuses projects that ask for a CMake before 3.5, as nlohmann_json 3.11.2 does, unless this is set.
set(CMAKE_POLICY_VERSION_MINIMUM 3.5)
# FetchContent_Populate alone lets EXCLUDE_FROM_ALL be given; FetchContent_MakeAvailable has it since CMake 3.28.
if(POLICY CMP0169)
  cmake_policy(SET CMP0169 OLD)
endif()

# When cross-compiling, /usr/include must not become an include directory: the build machine's libc headers would hide
# MinGW's. This folder has symbolic links to the libraries' folders only.
set(CLRHM_DEBIAN_HEADERS "${PROJECT_BINARY_DIR}/debian-headers")

# _clrhm_dependency(<package> <target> HEADER <folder/file> REPOSITORY <url> TAG <tag>)
function(_clrhm_dependency package target)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "HEADER;REPOSITORY;TAG" "")
  if(TARGET ${target})
    return()
  endif()
  # A toolchain that does not keep packages of the build machine away would get its /usr/include.
  set(elsewhere)
  if(CMAKE_CROSSCOMPILING AND CMAKE_HOST_UNIX AND NOT CMAKE_FIND_ROOT_PATH_MODE_PACKAGE STREQUAL "ONLY")
    set(elsewhere NO_CMAKE_SYSTEM_PATH NO_SYSTEM_ENVIRONMENT_PATH)
  endif()
  find_package(${package} CONFIG QUIET GLOBAL ${elsewhere})
  if(TARGET ${target})
    message(STATUS "${package}: CMake package in ${${package}_DIR}")
    return()
  endif()
  if(CMAKE_CROSSCOMPILING AND CMAKE_HOST_UNIX AND EXISTS "/usr/include/${arg_HEADER}")
    get_filename_component(folder "${arg_HEADER}" DIRECTORY)
    file(MAKE_DIRECTORY "${CLRHM_DEBIAN_HEADERS}/${package}")
    file(CREATE_LINK "/usr/include/${folder}" "${CLRHM_DEBIAN_HEADERS}/${package}/${folder}"
         SYMBOLIC)
    add_library(${target} INTERFACE IMPORTED GLOBAL)
    target_include_directories(${target} SYSTEM INTERFACE "${CLRHM_DEBIAN_HEADERS}/${package}")
    message(STATUS "${package}: the distribution's headers, /usr/include/${folder}")
    return()
  endif()
  message(STATUS "${package}: fetching ${arg_TAG} from ${arg_REPOSITORY}")
  string(TOLOWER "${package}" name)
  FetchContent_Declare(${name} GIT_REPOSITORY "${arg_REPOSITORY}" GIT_TAG "${arg_TAG}"
                       GIT_SHALLOW TRUE)
  _clrhm_make_available(${name})
endfunction()

# Works like FetchContent_MakeAvailable, with the library's own tests off and its headers as SYSTEM.
macro(_clrhm_make_available name)
  set(BUILD_TESTING OFF)
  set(BUILD_SHARED_LIBS OFF)
  FetchContent_GetProperties(${name})
  if(NOT ${name}_POPULATED)
    FetchContent_Populate(${name})
    add_subdirectory("${${name}_SOURCE_DIR}" "${${name}_BINARY_DIR}" EXCLUDE_FROM_ALL SYSTEM)
  endif()
endmacro()

_clrhm_dependency(Microsoft.GSL Microsoft.GSL::GSL HEADER gsl/gsl
                  REPOSITORY https://github.com/microsoft/GSL.git TAG v4.0.0)

if(CLRHM_BUILD_TOOL)
  _clrhm_dependency(CLI11 CLI11::CLI11 HEADER CLI/CLI.hpp
                    REPOSITORY https://github.com/CLIUtils/CLI11.git TAG v2.1.2)
endif()

if(CLRHM_BUILD_TOOL OR CLRHM_BUILD_TESTS)
  _clrhm_dependency(nlohmann_json nlohmann_json::nlohmann_json HEADER nlohmann/json.hpp
                    REPOSITORY https://github.com/nlohmann/json.git TAG v3.11.2)
endif()

# Compiles GoogleTest with the tests' own compiler and flags (sanitizers!) if its sources are installed, as Debian's
# package installs them. Otherwise uses a CMake package or fetches the release.
function(_clrhm_googletest)
  if(TARGET GTest::gtest_main)
    return()
  endif()
  set(INSTALL_GTEST OFF CACHE BOOL "" FORCE)
  set(gtest_force_shared_crt ON CACHE BOOL "" FORCE)
  set(BUILD_SHARED_LIBS OFF)
  if(NOT MSVC AND EXISTS /usr/src/googletest/CMakeLists.txt)
    set(source /usr/src/googletest)
    set(CMAKE_WARN_DEPRECATED OFF)
    add_subdirectory(${source} "${PROJECT_BINARY_DIR}/googletest" EXCLUDE_FROM_ALL SYSTEM)
    message(STATUS "GTest: the distribution's sources, ${source}")
  else()
    find_package(GTest CONFIG QUIET GLOBAL)
    if(TARGET GTest::gtest_main AND TARGET GTest::gmock)
      message(STATUS "GTest: CMake package in ${GTest_DIR}")
      return()
    endif()
    message(STATUS "GTest: fetching release-1.12.1")
    FetchContent_Declare(googletest GIT_REPOSITORY https://github.com/google/googletest.git
                         GIT_TAG release-1.12.1 GIT_SHALLOW TRUE)
    _clrhm_make_available(googletest)
  endif()
  foreach(target gtest gtest_main gmock gmock_main)
    if(NOT TARGET GTest::${target})
      add_library(GTest::${target} ALIAS ${target})
    endif()
    # Third-party headers: SYSTEM turns off this project's warnings for them.
    get_target_property(includes ${target} INTERFACE_INCLUDE_DIRECTORIES)
    set_property(TARGET ${target} PROPERTY INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${includes}")
    set_property(TARGET ${target} PROPERTY FOLDER third-party)
    get_target_property(imported ${target} IMPORTED)
    if(NOT imported AND NOT MSVC)
      target_compile_options(${target} PRIVATE -O0) # compiles in half of the time, and takes no time in the tests
    endif()
  endforeach()
endfunction()

if(CLRHM_BUILD_TESTS)
  _clrhm_googletest()
endif()
