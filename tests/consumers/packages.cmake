# cmake -DPACKAGES=<folder> -DVERSION=<version> -P packages.cmake
# Checks what cmake/package.cmake has written.
cmake_minimum_required(VERSION 3.25)
set(problems 0)

# expect(<archive> <path in it>...)
function(expect archive)
  execute_process(COMMAND "${CMAKE_COMMAND}" -E tar tf "${archive}" OUTPUT_VARIABLE content RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${archive} cannot be read")
  endif()
  foreach(path IN LISTS ARGN)
    if(NOT "\n${content}" MATCHES "[\n/]${path}\n")
      message("${archive} has no ${path}")
      math(EXPR problems "${problems} + 1")
    endif()
  endforeach()
  set(problems ${problems} PARENT_SCOPE)
endfunction()

file(GLOB archives "${PACKAGES}/*.zip")
if(NOT archives)
  message(FATAL_ERROR "There is no archive in ${PACKAGES}")
endif()
foreach(archive IN LISTS archives)
  set(symbols "bin/ClrHostMemory[.]dll[.]debug" "bin/clrmem[.]exe[.]debug" "lib/libClrHostMemory[.]a"
              "lib/libClrHostMemory[.]dll[.]a")
  if(archive MATCHES "msvc")
    set(symbols "bin/ClrHostMemory[.]pdb" "bin/clrmem[.]pdb" "lib/ClrHostMemory-static[.]lib" "lib/ClrHostMemory[.]lib")
  endif()
  expect("${archive}" ${symbols} "bin/ClrHostMemory[.]dll" "bin/clrmem[.]exe" "bin/clrmem-agent[.]dll"
         "bin/ClrHostMemory[.]Companion[.]dll" "include/clr_host_memory/memory_manager[.]h"
         "lib/cmake/ClrHostMemory/ClrHostMemoryConfig[.]cmake" "lib/pkgconfig/clr-host-memory[.]pc"
         "share/doc/ClrHostMemory/LICENSE" "share/doc/ClrHostMemory/THIRD-PARTY-NOTICES[.]txt")
endforeach()
expect("${PACKAGES}/ClrHostMemory.${VERSION}.nupkg" "LICENSE" "THIRD-PARTY-NOTICES[.]txt"
       "lib/net8[.]0/ClrHostMemory[.]Client[.]xml" "lib/net8[.]0/ClrHostMemory[.]Client[.]dll"
       "runtimes/win-x64/native/ClrHostMemory[.]dll" "runtimes/win-x64/native/ClrHostMemory[.]Companion[.]dll"
       "build/native/include/clr_host_memory/memory_manager[.]h" "build/native/ClrHostMemory[.]targets")

file(STRINGS "${PACKAGES}/SHA256SUMS" sums)
foreach(line IN LISTS sums)
  string(REGEX MATCH "^([0-9a-f]+)  (.*)$" ignored "${line}")
  file(SHA256 "${PACKAGES}/${CMAKE_MATCH_2}" sum)
  if(NOT sum STREQUAL CMAKE_MATCH_1)
    message("SHA256SUMS is wrong for ${CMAKE_MATCH_2}")
    math(EXPR problems "${problems} + 1")
  endif()
endforeach()
if(problems GREATER 0)
  message(FATAL_ERROR "${problems} problems in the packages")
endif()
