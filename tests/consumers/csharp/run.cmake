# Builds the program of this folder with the NuGet package alone, as a user does, and runs it under clrmem:
#   cmake -DPACKAGES=FOLDER -DVERSION=0.1.0 -DWORK=FOLDER -DCLRMEM=clrmem.exe -DDOTNET_ROOT=FOLDER
#         [-DEMULATOR=wine-run.sh] -P run.cmake
# PACKAGES: has ClrHostMemory.VERSION.nupkg. WORK: is deleted first. DOTNET_ROOT: the runtimes for clrmem, on Windows
# or for Wine. EMULATOR: runs clrmem where Windows does not. Prints "skipped: ..." without a .NET SDK.
cmake_minimum_required(VERSION 3.25)
foreach(variable PACKAGES VERSION WORK CLRMEM DOTNET_ROOT)
  if(NOT ${variable})
    message(FATAL_ERROR "consumer_csharp: pass -D${variable}=...; the head of ${CMAKE_CURRENT_LIST_FILE} lists all")
  endif()
endforeach()
find_program(dotnet dotnet NO_CACHE)
if(NOT dotnet)
  message("skipped: there is no .NET SDK (`dotnet` in PATH)")
  return()
endif()
foreach(variable PACKAGES WORK CLRMEM DOTNET_ROOT)
  file(REAL_PATH "${${variable}}" ${variable} BASE_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}")
endforeach()
set(package "${PACKAGES}/ClrHostMemory.${VERSION}.nupkg")
if(NOT EXISTS "${package}")
  message(FATAL_ERROR "consumer_csharp: ${package} is missing; pack packaging/nuget/ClrHostMemory.csproj")
endif()

# The copy is outside of the tree's settings, and sees no package but this one.
file(REMOVE_RECURSE "${WORK}")
file(COPY "${CMAKE_CURRENT_LIST_DIR}/Consumer.csproj" "${CMAKE_CURRENT_LIST_DIR}/Program.cs" DESTINATION "${WORK}")
foreach(name Directory.Build.props Directory.Build.targets Directory.Packages.props)
  file(WRITE "${WORK}/${name}" "<Project />\n")
endforeach()
file(WRITE "${WORK}/nuget.config"
     "<configuration>\n"
     "  <packageSources>\n"
     "    <clear />\n"
     "    <add key=\"local\" value=\"${PACKAGES}\" />\n"
     "  </packageSources>\n"
     "  <config>\n"
     "    <add key=\"globalPackagesFolder\" value=\"${WORK}/packages\" />\n"
     "  </config>\n"
     "</configuration>\n")
set(ENV{DOTNET_CLI_TELEMETRY_OPTOUT} 1)
set(ENV{DOTNET_NOLOGO} 1)
execute_process(
  COMMAND "${dotnet}" build Consumer.csproj -nologo -v quiet -nodeReuse:false -p:UseSharedCompilation=false -c Release
          "-p:ClrHostMemoryVersion=${VERSION}" -o "${WORK}/out"
  WORKING_DIRECTORY "${WORK}" RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "consumer_csharp: the program does not build with the package:\n${output}")
endif()
# A host that is beside the program finds the native files there.
foreach(file ClrHostMemory.Client.dll ClrHostMemory.dll ClrHostMemory.Companion.dll)
  if(NOT EXISTS "${WORK}/out/${file}")
    message(FATAL_ERROR "consumer_csharp: the build has put no ${file} beside the program")
  endif()
endforeach()

set(runtimes "${DOTNET_ROOT}")
set(program "${WORK}/out/Consumer.dll")
if(EMULATOR)
  set(runtimes "Z:${runtimes}")
  set(program "Z:${program}")
endif()
# run(<expected exit code> <expected output> <clrmem's options>...): runs the program.
function(run expected_code expected_output)
  execute_process(
    COMMAND ${EMULATOR} "${CLRMEM}" run --quiet --runtime "${runtimes}" ${ARGN} "${program}"
    TIMEOUT 120 RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE error)
  string(REPLACE "\r" "" output "${output}")
  if(NOT code STREQUAL expected_code OR NOT output STREQUAL expected_output)
    message(FATAL_ERROR "consumer_csharp: clrmem run ${ARGN}: exit code ${code}, not ${expected_code}, and output\n"
                        "${output}${error}\nnot\n${expected_output}")
  endif()
endfunction()
run(0 "limit 134217728\nlowered 117440512\nmeasured 117440512\n" --limit 128M)
run(3 "no manager\n" --no-bridge)
message("consumer_csharp: the package works")
