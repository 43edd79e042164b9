# Sets up cmake --install, the CMake package, the pkg-config file and CPack. Windows only: the portable layers alone are
# not a product.
if(NOT WIN32)
  return()
endif()

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(_clrhm_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/ClrHostMemory")

# Each library has its own file of targets, so that a package can have either or both.
foreach(_clrhm_library static shared)
  if(TARGET clrhm_${_clrhm_library})
    install(
      TARGETS clrhm_${_clrhm_library}
      EXPORT ClrHostMemory-${_clrhm_library}
      RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}"
      LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
      ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
      INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
    install(EXPORT ClrHostMemory-${_clrhm_library} NAMESPACE ClrHostMemory:: DESTINATION "${_clrhm_package_dir}")
  endif()
endforeach()
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" "${PROJECT_SOURCE_DIR}/README.md" "${PROJECT_SOURCE_DIR}/CHANGELOG.md"
              "${PROJECT_SOURCE_DIR}/packaging/THIRD-PARTY-NOTICES.txt"
        DESTINATION "${CMAKE_INSTALL_DOCDIR}")
if(MSVC)
  install(FILES "${PROJECT_SOURCE_DIR}/src/clr_host_memory.natvis" DESTINATION "${CMAKE_INSTALL_DATADIR}/ClrHostMemory")
endif()

# The companion is the same file for every processor. The .NET SDK has built it before (cmake/modules/DotNet.cmake). If it
# has not, the package lacks the companion, and a runtime keeps the GC's first limit.
install(FILES "${CLRHM_COMPANION}" DESTINATION "${CMAKE_INSTALL_BINDIR}" OPTIONAL)
if(TARGET clrmem)
  install(TARGETS clrmem clrmem_agent RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()

# Debuggers find these files beside the programs.
foreach(_clrhm_target clrhm_shared clrmem clrmem_agent)
  if(NOT TARGET ${_clrhm_target})
    continue()
  endif()
  if(MSVC)
    install(FILES "$<TARGET_PDB_FILE:${_clrhm_target}>" DESTINATION "${CMAKE_INSTALL_BINDIR}" OPTIONAL)
  elseif(CLRHM_SYMBOLS)
    install(FILES "$<TARGET_FILE:${_clrhm_target}>.debug" DESTINATION "${CMAKE_INSTALL_BINDIR}")
  endif()
endforeach()

configure_package_config_file(
  "${CMAKE_CURRENT_LIST_DIR}/ClrHostMemoryConfig.cmake.in" "${PROJECT_BINARY_DIR}/ClrHostMemoryConfig.cmake"
  INSTALL_DESTINATION "${_clrhm_package_dir}" PATH_VARS CMAKE_INSTALL_BINDIR)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/ClrHostMemoryConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/ClrHostMemoryConfig.cmake" "${PROJECT_BINARY_DIR}/ClrHostMemoryConfigVersion.cmake"
        DESTINATION "${_clrhm_package_dir}")

# For build systems other than CMake. The paths are relative to the file, so that the package can be moved.
set(CLRHM_PC_LIBRARY ClrHostMemory)
if(MSVC AND NOT CLRHM_BUILD_SHARED)
  set(CLRHM_PC_LIBRARY ClrHostMemory-static)
endif()
set(CLRHM_PC_PRIVATE "-luuid")
if(MINGW)
  string(APPEND CLRHM_PC_PRIVATE " -lstdc++")
endif()
configure_file("${CMAKE_CURRENT_LIST_DIR}/clr-host-memory.pc.in" "${PROJECT_BINARY_DIR}/clr-host-memory.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/clr-host-memory.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

# `cpack` makes one archive of all that cmake --install installs.
if(PROJECT_IS_TOP_LEVEL)
  if(CMAKE_SIZEOF_VOID_P EQUAL 4)
    set(_clrhm_processor x86)
  elseif(CMAKE_CXX_COMPILER_ARCHITECTURE_ID STREQUAL "ARM64" OR CMAKE_SYSTEM_PROCESSOR MATCHES "ARM64|aarch64")
    set(_clrhm_processor arm64)
  else()
    set(_clrhm_processor x64)
  endif()
  set(_clrhm_compiler mingw)
  if(MSVC)
    set(_clrhm_compiler msvc)
  endif()
  set(CPACK_GENERATOR ZIP)
  set(CPACK_PACKAGE_NAME clr-host-memory)
  set(CPACK_PACKAGE_VENDOR "The ClrHostMemory authors")
  set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
  set(CPACK_PACKAGE_FILE_NAME "clr-host-memory-${PROJECT_VERSION}-win-${_clrhm_processor}-${_clrhm_compiler}")
  include(CPack)
endif()
