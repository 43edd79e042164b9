# cmake -P cmake/demo.cmake: installs missing packages, builds clrmem, and runs real .NET programs under the manager. On
# each runtime, one program fits under its limit, and one reaches its limit and survives. Fails if a program ends
# differently.
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/modules/Setup.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/modules/DotNet.cmake")

if(CMAKE_HOST_WIN32)
  set(preset msvc-release)
  set(clrmem "${CLRHM_BUILD}/${preset}/bin/clrmem.exe")
else()
  set(preset mingw-release)
  set(clrmem "${CLRHM_ROOT}/cmake/toolchains/wine-run.sh" "${CLRHM_BUILD}/${preset}/bin/clrmem.exe")
endif()

# windows_path(<path> <variable>): sets the path as a Windows program sees it. Wine shows the Linux tree as drive Z.
function(windows_path path variable)
  string(REPLACE "/" "\\" path "${path}")
  if(NOT CMAKE_HOST_WIN32)
    set(path "Z:${path}")
  endif()
  set(${variable} "${path}" PARENT_SCOPE)
endfunction()

# demo(<title> EXPECT <exit code> OUTPUT <regular expression> COMMAND <clrmem's arguments>)
# Runs clrmem and prints its output after the run, as one block. Fails unless the exit code is as expected and the
# output matches.
function(demo what)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "EXPECT;OUTPUT" "COMMAND")
  list(JOIN arg_COMMAND " " command)
  string(REPEAT "-" 100 line)
  message("\n${line}\n${what}\n  clrmem ${command}\n${line}")
  execute_process(COMMAND ${clrmem} ${arg_COMMAND} RESULT_VARIABLE result OUTPUT_VARIABLE output
                  ERROR_VARIABLE output TIMEOUT 300)
  message("${output}")
  if(NOT result STREQUAL arg_EXPECT)
    clrhm_fail("${what}: ended with ${result}, not with exit code ${arg_EXPECT}")
  endif()
  if(NOT output MATCHES "${arg_OUTPUT}")
    clrhm_fail("${what}: the output has no line such as '${arg_OUTPUT}'")
  endif()
  message("As expected: exit code ${result}, '${CMAKE_MATCH_0}'")
endfunction()

clrhm_setup(WINDOWS_TARGETS)
clrhm_start_wine()
clrhm_dotnet()
clrhm_run("Configuring ${preset}" QUIET COMMAND "${CMAKE_COMMAND}" --preset ${preset})
clrhm_run("Building clrmem" COMMAND "${CMAKE_COMMAND}" --build --preset ${preset} --target clrmem -j
          ${CLRHM_CORES})

set(shown 0)
if(CLRHM_HAS_DOTNET)
  windows_path("${CLRHM_BUILD}/dotnet" dotnet_root)
  set(ENV{DOTNET_ROOT} "${dotnet_root}")
  foreach(framework net8.0 net10.0)
    string(REGEX REPLACE "^net([0-9]+).*" "\\1" major "${framework}")
    file(GLOB runtimes "${CLRHM_BUILD}/dotnet/shared/Microsoft.NETCore.App/${major}.*")
    if(NOT runtimes)
      clrhm_say("No .NET ${major} runtime in build/dotnet: its demo is left out")
      continue()
    endif()
    windows_path("${CLRHM_BUILD}/programs/${framework}" programs)
    demo(".NET ${major}: a program that fits under its limit" EXPECT 0
         OUTPUT "hello from \\.NET ${major}[0-9.]*"
         COMMAND run --limit 128M "${programs}\\Hello\\Hello.dll")
    demo(".NET ${major}: a program that allocates until there is no more, hits the limit and survives"
         EXPECT 42 OUTPUT "OutOfMemoryException after [0-9]+ MiB"
         COMMAND run --limit 128M "${programs}\\AllocateUntilOom\\AllocateUntilOom.dll")
    math(EXPR shown "${shown} + 2")
  endforeach()
endif()

# .NET Framework, whose CLR itself requests memory from the host: Windows only.
set(framework_clr "$ENV{SystemRoot}/Microsoft.NET/Framework64/v4.0.30319/clr.dll")
if(CMAKE_HOST_WIN32 AND EXISTS "${framework_clr}" AND EXISTS "${CLRHM_BUILD}/programs/net48/HelloFx/HelloFx.exe")
  windows_path("${CLRHM_BUILD}/programs/net48" programs)
  demo(".NET Framework: a program that fits under its limit" EXPECT 0
       OUTPUT "hello from \\.NET Framework[^\r\n]*"
       COMMAND run --limit 256M "${programs}\\HelloFx\\HelloFx.exe")
  demo(".NET Framework: a program that hits the limit and survives" EXPECT 42
       OUTPUT "OutOfMemoryException after [0-9]+ MiB"
       COMMAND run --limit 256M "${programs}\\AllocateUntilOomFx\\AllocateUntilOomFx.exe")
  math(EXPR shown "${shown} + 2")
endif()

if(shown EQUAL 0)
  clrhm_say("No CLR can be installed here: a scripted client makes a .NET Framework CLR's calls instead")
  demo("A scripted client, not a CLR" EXPECT 0 OUTPUT "[Ss]cripted" COMMAND scripted --limit 128M)
  set(shown 1)
endif()
clrhm_stop_wine()
message("\nAll ${shown} demos ended as expected.")
