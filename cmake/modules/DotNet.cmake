# clrhm_dotnet([X86]): restores the Windows runtimes of .NET into build/dotnet (a dotnet root), and with X86 the 32-bit
# ones into build/dotnet-x86. Builds the companion into build/companion, the client into build/client, and the managed
# sample programs into build/programs/<framework>/<Name>. Publishes one of them as .exe
# files of all shapes into build/programs/<framework>/shapes/<Shape>. Does nothing if the sources and the versions are
# unchanged. Sets CLRHM_HAS_DOTNET to whether the runtimes and the programs are there. Without a .NET SDK or a package
# source, prints a message and continues.
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

# _clrhm_hash(<variable> <file>...): sets one hash of the files' names and contents.
function(_clrhm_hash variable)
  set(all "")
  foreach(file IN LISTS ARGN)
    file(SHA256 "${file}" hash)
    string(APPEND all "${file} ${hash}\n")
  endforeach()
  string(SHA256 all "${all}")
  set(${variable} "${all}" PARENT_SCOPE)
endfunction()

# _clrhm_dotnet_step(<what> <stamp file> <hash> <result variable> <command|with|arguments>...): runs `dotnet` unless the
# stamp file has the same hash. Sets the result variable to whether the step succeeded or was up to date.
function(_clrhm_dotnet_step what stamp hash result_variable)
  set(${result_variable} TRUE PARENT_SCOPE)
  if(EXISTS "${stamp}")
    file(READ "${stamp}" old)
    if(old STREQUAL hash)
      return()
    endif()
  endif()
  file(REMOVE "${stamp}")
  clrhm_say("${what}")
  foreach(step IN LISTS ARGN)
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
  _clrhm_hash(runtimes_hash "${programs}/Runtimes/Runtimes.csproj" "${programs}/Versions.props")
  if(NOT EXISTS "${CLRHM_BUILD}/dotnet/shared")
    file(REMOVE "${CLRHM_BUILD}/dotnet/stamp")
  endif()
  _clrhm_dotnet_step(
    "Restoring the Windows runtimes of .NET into build/dotnet" "${CLRHM_BUILD}/dotnet/stamp"
    "${runtimes_hash}" has_runtimes "restore|Runtimes/Runtimes.csproj"
    "build|Runtimes/Runtimes.csproj|--no-restore|-f|net10.0|-t:Layout")

  if(arg_X86)
    if(NOT EXISTS "${CLRHM_BUILD}/dotnet-x86/shared")
      file(REMOVE "${CLRHM_BUILD}/dotnet-x86/stamp")
    endif()
    set(x86 "-p:ClrhmArchitecture=x86")
    _clrhm_dotnet_step(
      "Restoring the 32-bit Windows runtimes of .NET into build/dotnet-x86" "${CLRHM_BUILD}/dotnet-x86/stamp"
      "${runtimes_hash}" has_x86_runtimes "restore|Runtimes/Runtimes.csproj|${x86}"
      "build|Runtimes/Runtimes.csproj|--no-restore|-f|net10.0|-t:Layout|${x86}")
  endif()

  set(companion "${CLRHM_ROOT}/src/companion")
  file(GLOB sources "${companion}/*.cs" "${companion}/*.csproj")
  list(SORT sources)
  _clrhm_hash(companion_hash ${sources})
  if(NOT EXISTS "${CLRHM_BUILD}/companion/ClrHostMemory.Companion.dll")
    file(REMOVE "${CLRHM_BUILD}/companion/stamp")
  endif()
  _clrhm_dotnet_step("Building the companion into build/companion" "${CLRHM_BUILD}/companion/stamp"
                     "${companion_hash}" has_companion
                     "build|${companion}/ClrHostMemory.Companion.csproj|-c|Release")

  set(client "${CLRHM_ROOT}/src/client")
  file(GLOB client_sources "${client}/*.cs" "${client}/*.csproj")
  list(SORT client_sources)
  _clrhm_hash(client_hash ${client_sources})
  if(NOT EXISTS "${CLRHM_BUILD}/client/ClrHostMemory.Client.dll")
    file(REMOVE "${CLRHM_BUILD}/client/stamp")
  endif()
  _clrhm_dotnet_step("Building the client into build/client" "${CLRHM_BUILD}/client/stamp" "${client_hash}" has_client
                     "build|${client}/ClrHostMemory.Client.csproj|-c|Release")

  file(GLOB_RECURSE sources "${programs}/*.cs" "${programs}/*.csproj" "${programs}/*.props"
       "${programs}/*.slnx" "${programs}/*.json")
  list(SORT sources)
  _clrhm_hash(programs_hash ${sources} ${client_sources})
  if(NOT EXISTS "${CLRHM_BUILD}/programs/net10.0/Hello/Hello.dll")
    file(REMOVE "${CLRHM_BUILD}/programs/stamp")
  endif()
  _clrhm_dotnet_step("Building the managed sample programs into build/programs"
                     "${CLRHM_BUILD}/programs/stamp" "${programs_hash}" has_programs
                     "build|Programs.slnx|-c|Release")

  _clrhm_hash(shapes_hash "${programs}/Shapes/Shapes.csproj" "${programs}/Versions.props"
              "${programs}/Directory.Build.props" "${programs}/AllocateUntilOom/AllocateUntilOom.cs")
  set(shapes_stamp "${CLRHM_BUILD}/programs/shapes-stamp")
  if(NOT EXISTS "${CLRHM_BUILD}/programs/net10.0/shapes/AppHost/AllocateUntilOom.exe")
    file(REMOVE "${shapes_stamp}")
  endif()
  _clrhm_dotnet_step("Publishing AllocateUntilOom in all shapes into build/programs" "${shapes_stamp}"
                     "${shapes_hash}" has_shapes "restore|Shapes/Shapes.csproj"
                     "build|Shapes/Shapes.csproj|--no-restore|-t:Layout")

  _clrhm_hash(com_hash "${programs}/ComComponent/ComComponent.csproj" "${programs}/ComComponent/ComComponent.cs"
              "${programs}/Component/Component.cs" "${programs}/Versions.props" "${programs}/Directory.Build.props")
  set(com_stamp "${CLRHM_BUILD}/programs/com-stamp")
  if(NOT EXISTS "${CLRHM_BUILD}/programs/net10.0/ComComponent/ComComponent.comhost.dll")
    file(REMOVE "${com_stamp}")
  endif()
  _clrhm_dotnet_step("Building the COM component into build/programs" "${com_stamp}" "${com_hash}" has_com
                     "build|ComComponent/ComComponent.csproj|-c|Release")

  set(examples "${CLRHM_ROOT}/examples")
  file(GLOB_RECURSE sources "${examples}/*.cs" "${examples}/*.csproj" "${examples}/*.props" "${examples}/*.slnx")
  list(SORT sources)
  _clrhm_hash(examples_hash ${sources})
  if(NOT EXISTS "${CLRHM_BUILD}/examples/Game/Game.dll")
    file(REMOVE "${CLRHM_BUILD}/examples/stamp")
  endif()
  _clrhm_dotnet_step("Building the managed parts of the examples into build/examples" "${CLRHM_BUILD}/examples/stamp"
                     "${examples_hash}" has_examples "build|${examples}/Examples.slnx|-c|Release")
  if(CLRHM_PKILL)
    execute_process(COMMAND "${CLRHM_PKILL}" -f "pipename:clrhm-${CLRHM_COMPILER_SERVER}")
  endif()
  if(has_runtimes AND has_programs)
    set(CLRHM_HAS_DOTNET TRUE PARENT_SCOPE)
  endif()
endfunction()
