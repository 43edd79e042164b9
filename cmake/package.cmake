# cmake -P cmake/package.cmake: builds the packages into build/packages. For each processor there is an archive with
# programs, libraries and their debug information. A NuGet package has all of them. SHA256SUMS has the checksums.
#   -DCLRHM_ONLY=mingw-release;mingw-x86-release   only these presets (default: all of this system that can be built)
#   -DCLRHM_BUILT=ON                               the presets' build folders are up to date: packs what they contain
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/modules/Setup.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/modules/DotNet.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/modules/Version.cmake")

set(presets mingw-release mingw-x86-release)
set(configuration)
if(CMAKE_HOST_WIN32)
  set(presets msvc-release msvc-x86-release msvc-arm64-release)
  set(configuration --config Release)
endif()
if(CLRHM_ONLY)
  set(presets ${CLRHM_ONLY})
endif()

if(NOT CLRHM_BUILT)
  clrhm_setup(WINDOWS_TARGETS X86_TARGETS)
  clrhm_dotnet()
endif()
find_program(CLRHM_DOTNET dotnet NO_CACHE)
if(NOT CLRHM_DOTNET OR NOT EXISTS "${CLRHM_BUILD}/companion/ClrHostMemory.Companion.dll")
  clrhm_fail("The packages contain managed parts, and there is no .NET SDK to build them; install the .NET SDK 10")
endif()

set(packages "${CLRHM_BUILD}/packages")
file(REMOVE_RECURSE "${packages}")
file(MAKE_DIRECTORY "${packages}")
get_filename_component(bin "${CMAKE_COMMAND}" DIRECTORY)
find_program(cpack cpack HINTS "${bin}" REQUIRED NO_CACHE)

foreach(preset IN LISTS presets)
  if(CLRHM_BUILT)
    set(folder "${CLRHM_BUILD}/${preset}")
  else()
    # Without tests, all that is built is packed.
    set(folder "${CLRHM_BUILD}/package/${preset}")
    clrhm_run("Configuring ${preset}" QUIET COMMAND "${CMAKE_COMMAND}" --preset ${preset} -B "${folder}"
              -DCLRHM_BUILD_TESTS=OFF -DCLRHM_SOURCE_CHECKS=OFF -DCLRHM_SYMBOLS=ON)
    clrhm_run("Building ${preset}" COMMAND "${CMAKE_COMMAND}" --build "${folder}" ${configuration} -j ${CLRHM_CORES})
  endif()
  file(STRINGS "${folder}/CPackConfig.cmake" name REGEX "CPACK_PACKAGE_FILE_NAME ")
  string(REGEX MATCH "win-[a-z0-9]+" processor "${name}")
  clrhm_run("Installing ${preset}" QUIET COMMAND "${CMAKE_COMMAND}" --install "${folder}" ${configuration}
            --prefix "${packages}/tree/${processor}")
  set(as)
  if(configuration)
    set(as -C Release)
  endif()
  clrhm_run("Packing ${preset}" QUIET COMMAND "${cpack}" --config "${folder}/CPackConfig.cmake" ${as} -B "${packages}")
endforeach()
file(REMOVE_RECURSE "${packages}/_CPack_Packages")

clrhm_read_version(version)
clrhm_run(
  "Packing for NuGet" QUIET
  COMMAND "${CLRHM_DOTNET}" pack "${CLRHM_ROOT}/packaging/nuget/ClrHostMemory.csproj" -c Release -o "${packages}" -nologo
          -nodeReuse:false "-p:UseSharedCompilation=false" "-p:ClrhmBuildRoot=${CLRHM_BUILD}/" "-p:ClrhmVersion=${version}"
          "-p:ClrhmNativeRoot=${packages}/tree")

file(GLOB files RELATIVE "${packages}" "${packages}/*.zip" "${packages}/*.nupkg")
list(SORT files)
set(sums "")
foreach(file IN LISTS files)
  file(SHA256 "${packages}/${file}" sum)
  string(APPEND sums "${sum}  ${file}\n")
  clrhm_say("build/packages/${file}")
endforeach()
file(WRITE "${packages}/SHA256SUMS" "${sums}")
