# clrhm_dotnet([X86]): restores the Windows runtimes of .NET into build/dotnet (a dotnet root), and with X86 the 32-bit
# ones into build/dotnet-x86. Builds the companion into build/companion, the client into build/client, and the managed
# sample programs into build/programs/<framework>/<Name>. Publishes one of them as .exe files of all shapes into
# build/programs/<framework>/shapes/<Shape>, and builds the examples' managed parts into build/examples. Does nothing if
# the sources and the versions are unchanged. Sets CLRHM_HAS_DOTNET to whether the runtimes and the programs are there.
# Without a .NET SDK or a package source, prints a message and continues.
include_guard(GLOBAL)
include("${CMAKE_CURRENT_LIST_DIR}/Setup.cmake")

# Options of every call. Build servers are off: they would outlive the script. The exception is a compiler's server under
# a name that only this script knows, where it can be ended by that name. With it a hundred compilations take a third of
# the time.
find_program(CLRHM_PKILL pkill NO_CACHE)
set(_clrhm_dotnet_options -nologo -v quiet -nodeReuse:false "-p:ClrhmBuildRoot=${CLRHM_BUILD}/")
if(CLRHM_PKILL)
  string(RANDOM LENGTH 12 ALPHABET abcdefghijklmnopqrstuvwxyz CLRHM_COMPILER_SERVER)
  list(APPEND _clrhm_dotnet_options "-p:UseSharedCompilation=true" "-p:SharedCompilationId=clrhm-${CLRHM_COMPILER_SERVER}")
else()
  list(APPEND _clrhm_dotnet_options "-p:UseSharedCompilation=false")
endif()

# _clrhm_dotnet_step(<what> <product> <stamp> <result variable> SOURCES <file>... STEPS <command|with|arguments>...)
#
# Runs `dotnet`, unless the product exists and the stamp file has the hash of the sources' names and contents. Sets the result
# variable to whether the step succeeded or was up to date. product and stamp: below build/.
function(_clrhm_dotnet_step what product stamp result_variable)
  cmake_parse_arguments(PARSE_ARGV 4 arg "" "" "SOURCES;STEPS")
  set(stamp "${CLRHM_BUILD}/${stamp}")
  set(hash "")
  foreach(file IN LISTS arg_SOURCES)
    file(SHA256 "${file}" one)
    string(APPEND hash "${file} ${one}\n")
  endforeach()
  string(SHA256 hash "${hash}")
  set(${result_variable} TRUE PARENT_SCOPE)
  if(EXISTS "${CLRHM_BUILD}/${product}" AND EXISTS "${stamp}")
    file(READ "${stamp}" old)
    if(old STREQUAL hash)
      return()
    endif()
  endif()
  file(REMOVE "${stamp}")
  clrhm_say("${what}")
  foreach(step IN LISTS arg_STEPS)
    string(REPLACE "|" ";" command "${step}")
    execute_process(COMMAND "${CLRHM_DOTNET}" ${command} ${_clrhm_dotnet_options}
                    WORKING_DIRECTORY "${CLRHM_ROOT}/tests/programs" RESULT_VARIABLE result
                    OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(NOT result EQUAL 0)
      message("${output}")
      clrhm_say("${what}: failed; what needs it is left out")
      set(${result_variable} FALSE PARENT_SCOPE)
      return()
    endif()
  endforeach()
  file(WRITE "${stamp}" "${hash}")
endfunction()

function(clrhm_dotnet)
  cmake_parse_arguments(PARSE_ARGV 0 arg "X86" "" "")
  set(CLRHM_HAS_DOTNET FALSE PARENT_SCOPE)
  find_program(CLRHM_DOTNET dotnet NO_CACHE)
  if(NOT CLRHM_DOTNET)
    clrhm_say("No .NET SDK (`dotnet` in PATH), so no runtimes and no managed programs")
    return()
  endif()
  set(ENV{DOTNET_CLI_TELEMETRY_OPTOUT} 1)
  set(ENV{DOTNET_NOLOGO} 1)

  set(programs "${CLRHM_ROOT}/tests/programs")
  set(companion "${CLRHM_ROOT}/src/companion")
  set(client "${CLRHM_ROOT}/src/client")
  set(examples "${CLRHM_ROOT}/examples")
  set(versions "${programs}/Versions.props" "${programs}/Directory.Build.props")
  file(GLOB companion_sources "${companion}/*.cs" "${companion}/*.csproj")
  file(GLOB client_sources "${client}/*.cs" "${client}/*.csproj")
  file(GLOB_RECURSE program_sources "${programs}/*.cs" "${programs}/*.csproj" "${programs}/*.props" "${programs}/*.slnx"
       "${programs}/*.json")
  file(GLOB_RECURSE example_sources "${examples}/*.cs" "${examples}/*.csproj" "${examples}/*.props" "${examples}/*.slnx")

  _clrhm_dotnet_step(
    "Restoring the Windows runtimes of .NET into build/dotnet" dotnet/shared dotnet/stamp has_runtimes
    SOURCES "${programs}/Runtimes/Runtimes.csproj" "${programs}/Versions.props"
    STEPS "restore|Runtimes/Runtimes.csproj" "build|Runtimes/Runtimes.csproj|--no-restore|-f|net10.0|-t:Layout")
  if(arg_X86)
    set(x86 "-p:ClrhmArchitecture=x86")
    _clrhm_dotnet_step(
      "Restoring the 32-bit Windows runtimes of .NET into build/dotnet-x86" dotnet-x86/shared dotnet-x86/stamp
      has_x86_runtimes
      SOURCES "${programs}/Runtimes/Runtimes.csproj" "${programs}/Versions.props"
      STEPS "restore|Runtimes/Runtimes.csproj|${x86}"
            "build|Runtimes/Runtimes.csproj|--no-restore|-f|net10.0|-t:Layout|${x86}")
  endif()
  _clrhm_dotnet_step(
    "Building the companion into build/companion" companion/ClrHostMemory.Companion.dll companion/stamp has_companion
    SOURCES ${companion_sources}
    STEPS "build|${companion}/ClrHostMemory.Companion.csproj|-c|Release")
  _clrhm_dotnet_step(
    "Building the client into build/client" client/ClrHostMemory.Client.dll client/stamp has_client
    SOURCES ${client_sources}
    STEPS "build|${client}/ClrHostMemory.Client.csproj|-c|Release")
  _clrhm_dotnet_step(
    "Building the managed sample programs into build/programs" programs/net10.0/Hello/Hello.dll programs/stamp has_programs
    SOURCES ${program_sources} ${client_sources}
    STEPS "build|Programs.slnx|-c|Release")
  _clrhm_dotnet_step(
    "Publishing AllocateUntilOom in all shapes into build/programs"
    programs/net10.0/shapes/AppHost/AllocateUntilOom.exe programs/shapes-stamp has_shapes
    SOURCES "${programs}/Shapes/Shapes.csproj" ${versions} "${programs}/AllocateUntilOom/AllocateUntilOom.cs"
    STEPS "restore|Shapes/Shapes.csproj" "build|Shapes/Shapes.csproj|--no-restore|-t:Layout")
  _clrhm_dotnet_step(
    "Building the COM component into build/programs" programs/net10.0/ComComponent/ComComponent.comhost.dll
    programs/com-stamp has_com
    SOURCES "${programs}/ComComponent/ComComponent.csproj" "${programs}/ComComponent/ComComponent.cs"
            "${programs}/Component/Component.cs" ${versions}
    STEPS "build|ComComponent/ComComponent.csproj|-c|Release")
  _clrhm_dotnet_step(
    "Building the managed parts of the examples into build/examples" examples/Game/Game.dll examples/stamp has_examples
    SOURCES ${example_sources} ${client_sources}
    STEPS "build|${examples}/Examples.slnx|-c|Release")
  if(CLRHM_PKILL)
    execute_process(COMMAND "${CLRHM_PKILL}" -f "pipename:clrhm-${CLRHM_COMPILER_SERVER}")
  endif()
  if(has_runtimes AND has_programs)
    set(CLRHM_HAS_DOTNET TRUE PARENT_SCOPE)
  endif()
endfunction()
